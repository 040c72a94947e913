/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The transport's public interface: move a virtual machine from one process to another on the
 * same host. It knows sockets, pipes and memory; what a virtual machine is, it learns from the
 * callbacks of LmHostOps.
 *
 * Conventions
 *   - A function that can fail returns 0 or a negative errno value and sets *errp (domain
 *     LM_ERROR) to one line of text; on failure its outputs are untouched.
 *   - Sizes and offsets are in bytes and say so; times are in milliseconds or nanoseconds and
 *     say so; times of day are CLOCK_MONOTONIC, which both processes share.
 *   - A descriptor that is passed in stays the caller's unless the comment says "takes".
 */
#ifndef MIGRATION_LOCALHOST_H
#define MIGRATION_LOCALHOST_H

#include <glib.h>

G_BEGIN_DECLS

/* ------------------------------------------------------------------ errors */

#define LM_ERROR (lm_error_quark())
GQuark lm_error_quark(void);

typedef enum LmErrorCode {
	LM_ERROR_FAILED,    /* a system call or the host said no; the text has both */
	LM_ERROR_REFUSED,   /* known before the VM stopped; nothing was touched */
	LM_ERROR_PROTOCOL,  /* the peer sent what the protocol does not allow */
	LM_ERROR_PEER,	    /* the peer reported this error */
	LM_ERROR_GONE,	    /* the peer closed the socket or died */
	LM_ERROR_TIMEOUT,   /* a deadline passed */
	LM_ERROR_CANCELLED, /* the user cancelled */
	LM_ERROR_LOST,	    /* guest memory went with the peer: the VM must not run again */
} LmErrorCode;

/* --------------------------------------------------------------- inventory */

/*
 * What both machines must have in common, in words. A trait is present on both sides with the
 * same kind, key and identity, or the handover is refused. The label is what a person reads:
 * for a drive, the identity is the image's device and inode number, the label its file name.
 * An identity of capacities, "256/1024 64/64", says how much is in use and how much can be: each
 * number that the source uses may be at most what the destination can have in its place. What only
 * one side has of these is no difference.
 */
typedef struct LmTrait {
	char *kind;	/* "machine type", "device", "drive" ...; at most 64 bytes */
	char *key;	/* "" where there is one of its kind; at most 1024 bytes */
	char *identity; /* at most 4096 bytes */
	char *label;	/* at most 4096 bytes; "" means the identity */
} LmTrait;

/*
 * A disk whose content shall end up in another image. All of it happens in the destination, after
 * the VM runs there; the transport only says which.
 */
typedef struct LmDisk {
	char *device; /* the key of its trait "drive"; at most 1024 bytes */
	char *file;   /* the new image, absolute; at most 4096 bytes */
	char *format; /* of the new image; at most 64 bytes */
	char *node;   /* what the destination shall call it; "": as it likes; at most 64 bytes */
	guint64 bandwidth; /* bytes a second; 0: no limit */
} LmDisk;

/* Copies its arguments. A list of them owns them. */
LmDisk *lm_disk_new(const char *device, const char *file, const char *format, const char *node,
		    guint64 bandwidth);
void lm_disk_free(LmDisk *disk);
GPtrArray *lm_disks_new(void);

/* What is said of a process in messages and status reports, and not compared. */
typedef struct LmInventory {
	char *host_version; /* "7.2.22 (Debian ...)"; at most 256 bytes */
	GPtrArray *traits;  /* of LmTrait, owned */
	GPtrArray *regions; /* of LmRegion, owned */
	GPtrArray *disks;   /* of LmDisk, owned; the source's: what shall move. Not compared */
} LmInventory;

LmInventory *lm_inventory_new(void);
void lm_inventory_free(LmInventory *inventory);
/* Copies its arguments; @label may be NULL. */
void lm_inventory_add_trait(LmInventory *inventory, const char *kind, const char *key,
			    const char *identity, const char *label);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LmInventory, lm_inventory_free)

/* ------------------------------------------------------------- RAM regions */

typedef enum LmWay {
	LM_WAY_FLIP,  /* the pages go through pipes; the source releases them as they go */
	LM_WAY_PASS,  /* shared memory: one descriptor goes */
	LM_WAY_SHARE, /* private memory becomes a memfd in place, whose descriptor goes */
} LmWay;
const char *lm_way_name(LmWay way);

typedef enum LmRegionFlags {
	LM_REGION_SHARED = 1 << 0,     /* mapped MAP_SHARED */
	LM_REGION_RESIZABLE = 1 << 1,  /* the destination may change used_bytes, up to max_bytes */
	LM_REGION_NORESERVE = 1 << 2,  /* mapped MAP_NORESERVE */
	LM_REGION_NAMED_FILE = 1 << 3, /* private over a file that others can see: all its pages
					* are sent, touched or not, for what the file holds may
					* differ from what the destination maps */
} LmRegionFlags;

/* One RAM block of the machine, as this process has it. */
typedef struct LmRegion {
	char *name;	    /* unique in its machine; at most 255 bytes */
	guint8 *host;	    /* address in this process, page aligned */
	guint64 used_bytes; /* a multiple of the base page */
	guint64 max_bytes;
	guint64 page_bytes; /* 4 KiB, or the huge page of hugetlbfs */
	LmRegionFlags flags;
	int fd; /* what it maps, -1 if anonymous; the host's */
	guint64 fd_offset_bytes;
	guint64 dev, ino; /* of fd, 0 if anonymous */
	void *opaque;	  /* the host's own handle */

	/* Below: the session's. */
	LmWay way;
	struct LmShare *share; /* on the source: what has become, or becomes, a memfd; or NULL */
	gboolean passed;       /* its descriptor has crossed */
	/*
	 * One bit per base page: its content is in this process and belongs to the guest. While
	 * pages flip, a bit is set in one of the two processes only; NULL until scanned.
	 */
	gulong *here;
	gulong *populated;	 /* on the source: as here was when it was scanned */
	guint8 *kept;		 /* on the source: a copy of what is populated, or NULL */
	guint64 peer_address;	 /* on the source: of the region in the destination */
	guint64 populated_bytes; /* on the source: what the scan found */
	guint64 skipped_bytes;	 /* on the source: never touched by the guest */
	guint64 moved_bytes;	 /* gone to (source) or come from (destination) the peer */
} LmRegion;

LmRegion *lm_region_new(const char *name);
void lm_region_free(LmRegion *region);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LmRegion, lm_region_free)

/* ------------------------------------------------------------- the session */

typedef enum LmRole { LM_ROLE_SOURCE, LM_ROLE_DESTINATION } LmRole;

/* The stages, in the order in which both sides walk them (migration/local/stage.c). */
typedef enum LmStage {
	LM_STAGE_HELLO,	  /* versions, process ids, traits, the ledger */
	LM_STAGE_REGIONS, /* RAM regions matched, descriptors and pipes exchanged */
	LM_STAGE_SHARE,	  /* private memory becomes memfds while the VM runs, if asked for */
	LM_STAGE_STOP,	  /* the VM stops; the clock of the downtime starts */
	LM_STAGE_FLIP,	  /* what could not be shared live, and pages through the pipes */
	LM_STAGE_DEVICES, /* disks inactivated, device state saved and sent */
	LM_STAGE_LOAD,	  /* device state loaded, disks activated */
	LM_STAGE_COMMIT,  /* the ledger changes hands; the destination runs */
	LM_STAGE__MAX,
} LmStage;
const char *lm_stage_name(LmStage stage);

typedef enum LmState {
	LM_STATE_NONE,
	LM_STATE_SETUP,	 /* hello and regions; waiting for a peer counts too */
	LM_STATE_ACTIVE, /* pages move; from the stage stop on the VM is stopped */
	LM_STATE_DEVICE, /* device state saved, sent, loaded */
	LM_STATE_COMPLETED,
	LM_STATE_FAILED,
	LM_STATE_CANCELLED,
} LmState;
const char *lm_state_name(LmState state);

/* Whether the VM may run in this process after the session has ended. */
typedef enum LmOutcome {
	LM_OUTCOME_HERE,      /* source: never left, came back whole, or was only rehearsed */
	LM_OUTCOME_GONE,      /* source: the VM runs in the destination */
	LM_OUTCOME_LOST,      /* source: pages went with a dead destination */
	LM_OUTCOME_TAKEN,     /* destination: the VM runs here */
	LM_OUTCOME_UNTOUCHED, /* destination: may wait for another source */
	LM_OUTCOME_SPOILT,    /* destination: its devices or memory were written; must exit */
	LM_OUTCOME_REHEARSED, /* destination: it would have taken the VM; must exit */
} LmOutcome;

typedef enum LmEngine {
	LM_ENGINE_AUTO,
	LM_ENGINE_VMSPLICE,	    /* references to pages through a pipe, one copy */
	LM_ENGINE_PROCESS_VM_READV, /* the receiver copies from the sender's address space */
} LmEngine;
const char *lm_engine_name(LmEngine engine);

typedef enum LmSwitch { LM_SWITCH_AUTO, LM_SWITCH_ON, LM_SWITCH_OFF } LmSwitch;

#define LM_CHANNELS_MAX	       16
#define LM_DEADLINE_MS_DEFAULT 10000
#define LM_DEADLINE_MS_MAX     3600000
#define LM_STALL_US_MAX	       1000000

typedef struct LmOptions {
	guint channels;	   /* pipes; 0: as many as suit this host */
	guint deadline_ms; /* longest wait for the peer to make progress; 0: the default */
	LmEngine engine;
	LmSwitch io_uring;
	const char *fault; /* for tests, see migration/local/fault.h; NULL: none */
	/* The source's: */
	LmWay ram;	    /* of private blocks: LM_WAY_FLIP, or LM_WAY_SHARE where possible */
	gboolean live;	    /* share while the VM runs, where the kernel can */
	gboolean rehearse;  /* the destination loads the VM's state, and exits */
	guint max_stall_us; /* live: aim for how long a thread waits for a chunk; 0: default */
	guint64 bandwidth;  /* live: bytes a second; 0: no limit */
} LmOptions;

#define LM_HINT_BYTES_MAX (1u << 20)

/* The devices' state on its way between two hosts. */
typedef struct LmDeviceState {
	int fd;		    /* a memfd or file, positioned anywhere */
	gboolean as_hinted; /* what the source's hint said was still true when it was saved */
} LmDeviceState;

/*
 * What the session needs of its host. All are called from the thread that runs
 * lm_session_run, one at a time; those of the other role may be NULL. An error text is shown to
 * the user as it is.
 */
typedef struct LmHostOps {
	/* Both: fills @inventory; refuses (LM_ERROR_REFUSED) what must not be handed over. */
	int (*describe)(void *opaque, LmInventory *inventory, GError **errp);
	/* Both: the state or a stage changed; must not block for long. */
	void (*changed)(void *opaque);

	/*
	 * Source, while the VM runs, right before stop; may be NULL: appends to @hint, at most
	 * LM_HINT_BYTES_MAX, what the destination's prepare is called with. What it says is between
	 * the two hosts, and may be wrong by the time when the VM is stopped.
	 */
	void (*hint)(void *opaque, GByteArray *hint);
	/*
	 * Destination, while the VM still runs in the source; may be NULL: whatever makes load
	 * quicker, and does no harm if nothing is loaded, or another VM's state.
	 */
	void (*prepare)(void *opaque, const guint8 *hint, gsize hint_bytes);

	/* Source: stop the VM, which has run until *@stop_ns. Undone by resume, unless it is
	 * refused (LM_ERROR_REFUSED): then the VM was not touched. */
	int (*stop)(void *opaque, gint64 *stop_ns, GError **errp);
	/*
	 * Source: let go of the disks and save the device state; state->fd becomes the caller's.
	 * Undone by resume. In a rehearsal it keeps the disks.
	 */
	int (*save)(void *opaque, LmDeviceState *state, GError **errp);
	/* Source: take the disks back and run on, as before stop. */
	int (*resume)(void *opaque, GError **errp);
	/* Source: the VM runs elsewhere; never run it again. */
	void (*gone)(void *opaque);
	/* Source: the VM cannot run anywhere; never run it again. */
	void (*lost)(void *opaque, const char *why);

	/*
	 * Destination, while the VM still runs in the source: refuses what of @disks cannot move,
	 * and makes ready for the rest. If the VM does not come, that is undone where the session
	 * ends.
	 */
	int (*move_disks)(void *opaque, GPtrArray *disks, GError **errp);
	/* Destination: give @region this used size. */
	int (*resize)(void *opaque, LmRegion *region, guint64 used_bytes, GError **errp);
	/* Destination: @region now maps its fd at its address; make the host's record true. */
	int (*adopted)(void *opaque, LmRegion *region, int fd, GError **errp);
	/* Destination: load the device state; state->fd stays the caller's. */
	int (*load)(void *opaque, const LmDeviceState *state, GError **errp);
	/* Destination: take the disks, whatever can fail; undone by deactivate. */
	int (*activate)(void *opaque, GError **errp);
	void (*deactivate)(void *opaque);
	/* Destination: the VM is ours; run it, or leave it paused as it was. Cannot fail. */
	void (*run)(void *opaque);
} LmHostOps;

typedef struct LmRegionStatus {
	char *name;
	LmWay way;
	guint64 used_bytes, populated_bytes, moved_bytes, skipped_bytes;
} LmRegionStatus;

/* What the time in which the VM is stopped is made of; the rest is messages on their way. */
typedef enum LmPause {
	LM_PAUSE_STOP,	   /* source: vCPUs stopped, I/O drained */
	LM_PAUSE_SAVE,	   /* source: disks inactivated, device state saved */
	LM_PAUSE_SEND,	   /* source: device state sent */
	LM_PAUSE_MAP,	   /* destination: memory mapped that was not there before the stop */
	LM_PAUSE_LOAD,	   /* destination: device state loaded */
	LM_PAUSE_ACTIVATE, /* destination: disks taken */
	LM_PAUSE_START,	   /* destination: vCPUs started */
	LM_PAUSE__MAX,
} LmPause;
const char *lm_pause_name(LmPause pause);

/* Private memory on its way into memfds. */
typedef struct LmShareStatus {
	gboolean asked;	       /* some block goes by LM_WAY_SHARE */
	gboolean live;	       /* it was, or is, done while the VM runs */
	char *why_not_live;    /* NULL: it was not asked for, or is live */
	guint64 shared_bytes;  /* content that is in memfds now, by this session */
	guint64 hole_bytes;    /* never touched by the guest */
	guint64 huge_bytes;    /* of shared_bytes: in huge pages */
	guint64 private_bytes; /* left over: the kernel held on to it */
	guint64 chunks;
	guint64 median_us, p99_us, max_us; /* for how long one chunk was out of reach */
} LmShareStatus;

/* A snapshot; free with lm_status_clear. */
typedef struct LmStatus {
	LmRole role;
	LmState state;
	LmStage stage; /* the one under way, or where it ended */
	gboolean rehearsal;
	gint64 stage_us[LM_STAGE__MAX]; /* -1: not reached */
	gint64 pause_us[LM_PAUSE__MAX]; /* source; -1: not known */
	gint64 downtime_us;		/* source: stop to run; -1: did not stop */
	gint64 total_us;
	guint64 populated_bytes, flipped_bytes, returned_bytes, skipped_bytes, lost_bytes;
	guint64 device_state_bytes;
	LmShareStatus share;
	guint channels;
	LmEngine engine;
	gboolean io_uring;
	gint peer_pid; /* 0: not known yet */
	char *peer_version;
	char *error;	    /* NULL: none */
	GPtrArray *regions; /* of LmRegionStatus; may be empty */
} LmStatus;
void lm_status_clear(LmStatus *status);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LmStatus, lm_status_clear)

typedef struct LmSession LmSession;

/* @ops must outlive the session. @options is copied. */
LmSession *lm_session_new(LmRole role, const LmHostOps *ops, void *opaque,
			  const LmOptions *options);
void lm_session_free(LmSession *session);
/*
 * Walks the stages over the connected socket @fd, which it takes. Blocks; every wait has a
 * deadline. Returns 0 when the destination runs the VM, or when it has rehearsed that. On failure
 * everything that can be undone has been undone; *outcome is set in both cases. Once per session.
 */
int lm_session_run(LmSession *session, int fd, LmOutcome *outcome, GError **errp);
/* From any thread. Before the commit the VM stays in the source; after it, no effect. */
void lm_session_cancel(LmSession *session);
/* From any thread, at any time between new and free. */
void lm_session_query(LmSession *session, LmStatus *status);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LmSession, lm_session_free)

/* ------------------------------------------------------------- the sockets */

/* Parses "unix:PATH" to a path that the caller frees; NULL and *errp if it is no such thing. */
char *lm_uri_parse(const char *uri, GError **errp);
/*
 * Connects to @path. Refuses a path that is no socket or is not owned by this user or root, and
 * a listener (SO_PEERCRED) of another user. Returns the descriptor (close-on-exec) or -errno.
 */
int lm_connect(const char *path, guint deadline_ms, GError **errp);

typedef struct LmListener LmListener;
/*
 * Binds and listens at @path, mode 0600 from the start. A socket left behind by a dead process
 * of this user is replaced; one that is in use, anything that is no socket and another user's
 * are refused.
 */
LmListener *lm_listen(const char *path, GError **errp);
/*
 * Waits without a deadline until a peer of this user or root connects, or @listener is
 * interrupted (-ECANCELED). Others are turned away and do not end the wait. Returns the
 * descriptor (close-on-exec) or -errno.
 */
int lm_accept(LmListener *listener, GError **errp);
/* From any thread: how many were turned away so far. */
guint lm_listener_turned_away(const LmListener *listener);
/* From any thread: a running and every later lm_accept returns -ECANCELED. */
void lm_listener_interrupt(LmListener *listener);
/* Closes, and removes the path if it is still this socket. */
void lm_listener_free(LmListener *listener);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LmListener, lm_listener_free)

G_END_DECLS

#endif
