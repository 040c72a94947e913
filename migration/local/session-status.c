// SPDX-License-Identifier: GPL-2.0-or-later
/* What a session tells of itself, from any thread, at any time. */
#include "session.h"

const char *lm_state_name(LmState state)
{
	static const char *const names[] = {
		[LM_STATE_NONE] = "none",	    [LM_STATE_SETUP] = "setup",
		[LM_STATE_ACTIVE] = "active",	    [LM_STATE_DEVICE] = "device",
		[LM_STATE_COMPLETED] = "completed", [LM_STATE_FAILED] = "failed",
		[LM_STATE_CANCELLED] = "cancelled",
	};

	return state < G_N_ELEMENTS(names) ? names[state] : "unknown";
}

const char *lm_pause_name(LmPause pause)
{
	static const char *const names[] = {
		[LM_PAUSE_STOP] = "stop",   [LM_PAUSE_SAVE] = "save",
		[LM_PAUSE_SEND] = "send",   [LM_PAUSE_MAP] = "map",
		[LM_PAUSE_LOAD] = "load",   [LM_PAUSE_ACTIVATE] = "activate",
		[LM_PAUSE_START] = "start",
	};

	return pause < G_N_ELEMENTS(names) ? names[pause] : "unknown";
}

static void region_status_free(gpointer data)
{
	LmRegionStatus *region = data;

	g_free(region->name);
	g_free(region);
}

void lm_status_clear(LmStatus *status)
{
	g_clear_pointer(&status->peer_version, g_free);
	g_clear_pointer(&status->error, g_free);
	g_clear_pointer(&status->share.why_not_live, g_free);
	g_clear_pointer(&status->regions, g_ptr_array_unref);
}

/* What the threads that move pages count meanwhile. */
static guint64 counted(const guint64 *bytes)
{
	return __atomic_load_n(bytes, __ATOMIC_RELAXED);
}

static GPtrArray *region_statuses(GPtrArray *regions)
{
	GPtrArray *list = g_ptr_array_new_with_free_func(region_status_free);

	for (guint i = 0; regions && i < regions->len; i++) {
		const LmRegion *region = g_ptr_array_index(regions, i);
		LmRegionStatus *status = g_new0(LmRegionStatus, 1);

		status->name = g_strdup(region->name);
		status->way = region->way;
		status->used_bytes = region->used_bytes;
		status->populated_bytes = counted(&region->populated_bytes);
		status->moved_bytes = counted(&region->moved_bytes);
		status->skipped_bytes = counted(&region->skipped_bytes);
		g_ptr_array_add(list, status);
	}
	return list;
}

static void query_share(LmSession *s, LmShareStatus *status)
{
	const LmShareRun *run = &s->share_run;

	status->why_not_live = g_strdup(s->status.share.why_not_live);
	status->shared_bytes = __atomic_load_n(&run->done_bytes, __ATOMIC_RELAXED);
	status->hole_bytes = __atomic_load_n(&run->hole_bytes, __ATOMIC_RELAXED);
	status->huge_bytes = __atomic_load_n(&run->huge_bytes, __ATOMIC_RELAXED);
	status->chunks = lm_times_count(&run->chunk_times);
	status->median_us = lm_times_percentile(&run->chunk_times, 50);
	status->p99_us = lm_times_percentile(&run->chunk_times, 99);
	status->max_us = lm_times_percentile(&run->chunk_times, 100);
}

void lm_session_query(LmSession *s, LmStatus *status)
{
	g_mutex_lock(&s->lock);
	*status = s->status;
	status->peer_version = g_strdup(s->status.peer_version);
	status->error = g_strdup(s->status.error);
	status->regions = region_statuses(s->regions);
	query_share(s, &status->share);
	if (status->state < LM_STATE_COMPLETED) {
		status->stage_us[status->stage] = g_get_monotonic_time() - s->stage_begin_us;
		status->total_us = g_get_monotonic_time() - s->begin_us;
		if (status->stage == LM_STAGE_FLIP)
			status->flipped_bytes = __atomic_load_n(&s->flip.bytes, __ATOMIC_RELAXED);
	}
	g_mutex_unlock(&s->lock);
}
