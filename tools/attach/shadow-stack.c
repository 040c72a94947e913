// SPDX-License-Identifier: GPL-2.0-or-later
#include "shadow-stack.h"

#include <errno.h>

#define SHSTK_SET   0x204			  /* NT_X86_SHSTK */
#define NOT_CODE    (G_GUINT64_CONSTANT(1) << 63) /* SHSTK_DATA_BIT: no return address has it */
#define WORD_BYTES  sizeof(guint64)
#define FRAME_BYTES (ATTACH_SHADOW_WORDS * WORD_BYTES)

AttachShadowFrame attach_shadow_frame(guint64 pointer, guint64 trampoline, AttachPlace place)
{
	static const guint8 below[] = {[ATTACH_AT_POLL] = 0,
				       [ATTACH_AT_FUNCTION] = FRAME_BYTES,
				       [ATTACH_AT_TRAMPOLINE] = WORD_BYTES};

	return (AttachShadowFrame){
		.pointer = pointer - below[place],
		.words = {trampoline, pointer | NOT_CODE},
	};
}

/*
 * A kernel before 6.6, or a processor without: no such set (-EINVAL or -ENODEV); a thread that
 * did not ask for one: -ENODEV.
 */
static gboolean is_absent(gssize rc)
{
	return rc == -EINVAL || rc == -ENODEV || rc == 0;
}

int attach_arch_read_shadow_stack(pid_t pid, AttachState *state, GError **errp)
{
	guint64 pointer = 0;
	gssize rc = attach_regset_get(pid, SHSTK_SET, &pointer, sizeof(pointer));

	state->shadow_stack = 0;
	if (is_absent(rc))
		return 0;
	if (rc != sizeof(pointer))
		return attach_fail_errno(errp, ATTACH_ERROR_FAILED, rc < 0 ? (int)-rc : EIO,
					 "cannot read the shadow stack's pointer of process %d",
					 (int)pid);
	if (pointer % WORD_BYTES || pointer <= FRAME_BYTES || pointer & NOT_CODE)
		return attach_fail(errp, ATTACH_ERROR_STATE, EINVAL,
				   "process %d has a shadow stack at 0x%" G_GINT64_MODIFIER
				   "x, on which no frame can be put",
				   (int)pid, pointer);
	state->shadow_stack = pointer;
	return 0;
}

int attach_arch_set_shadow_stack(pid_t pid, const AttachState *state, guint64 trampoline,
				 AttachPlace place, GError **errp)
{
	AttachShadowFrame frame;
	gssize rc;

	if (!state->shadow_stack)
		return 0;
	frame = attach_shadow_frame(state->shadow_stack, trampoline, place);
	for (guint i = 0; i < ATTACH_SHADOW_WORDS; i++) {
		rc = attach_poke(pid, state->shadow_stack - FRAME_BYTES + i * WORD_BYTES,
				 frame.words[i]);
		if (rc < 0)
			return attach_fail_errno(errp, ATTACH_ERROR_FAILED, (int)-rc,
						 "cannot write to the shadow stack of process %d",
						 (int)pid);
	}
	rc = attach_regset_set(pid, SHSTK_SET, &frame.pointer, sizeof(frame.pointer));
	if (rc >= 0)
		return 0;
	return attach_fail_errno(errp, ATTACH_ERROR_FAILED, (int)-rc,
				 "cannot set the shadow stack's pointer of process %d", (int)pid);
}
