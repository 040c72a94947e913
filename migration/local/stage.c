// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The stages of a handover. Both sides walk this one table: forward, and on failure backward.
 *
 *   stage    source                                 destination
 *   hello    says what it is, offers the ledger     compares, answers what it is
 *   regions  names disks that move, lists its RAM,  sees to the disks, matches,
 *            passes pipes                           discards, says ready
 *   share    turns private RAM into memfds, if      maps what is passed
 *            asked for; passes descriptors
 *   stop     stops the VM                           waits, maps the rest
 *            undo: takes the disks back, resumes
 *   flip     shares what could not be shared live,  receives pages
 *            sends pages and releases them
 *            undo: takes the pages back             undo: sends the pages back
 *   devices  lets go of the disks, sends the state  receives the state
 *   load     waits                                  loads the state, takes the disks
 *                                                   undo: lets go of the disks
 *   commit   waits                                  takes the ledger, runs
 *
 * Until the ledger is TAKEN the source may withdraw, at any stage, for whatever reason; what
 * follows from that is in the undo columns. All that is likely to be refused is refused in the
 * first two stages, while the guest runs. What was shared stays shared: there is nothing to undo.
 */
#include "session.h"

const LmStageEntry lm_stage_table[LM_STAGE__MAX] = {
	[LM_STAGE_HELLO] = {"hello",
			    LM_STATE_SETUP,
			    {{lm_source_hello, NULL}, {lm_destination_hello, NULL}}},
	[LM_STAGE_REGIONS] = {"regions",
			      LM_STATE_SETUP,
			      {{lm_source_regions, NULL}, {lm_destination_regions, NULL}}},
	[LM_STAGE_SHARE] = {"share",
			    LM_STATE_ACTIVE,
			    {{lm_source_share, NULL}, {lm_destination_share, NULL}}},
	[LM_STAGE_STOP] = {"stop",
			   LM_STATE_ACTIVE,
			   {{lm_source_stop, lm_source_undo_stop}, {lm_destination_stop, NULL}}},
	[LM_STAGE_FLIP] = {"flip",
			   LM_STATE_ACTIVE,
			   {{lm_source_flip, lm_source_undo_flip},
			    {lm_destination_flip, lm_destination_undo_flip}}},
	[LM_STAGE_DEVICES] = {"devices",
			      LM_STATE_DEVICE,
			      {{lm_source_devices, NULL}, {lm_state_receive, NULL}}},
	[LM_STAGE_LOAD] = {"load",
			   LM_STATE_DEVICE,
			   {{lm_source_load, NULL},
			    {lm_destination_load, lm_destination_undo_load}}},
	[LM_STAGE_COMMIT] = {"commit",
			     LM_STATE_DEVICE,
			     {{lm_source_commit, NULL}, {lm_destination_commit, NULL}}},
};

const char *lm_stage_name(LmStage stage)
{
	return stage < LM_STAGE__MAX ? lm_stage_table[stage].name : "unknown";
}
