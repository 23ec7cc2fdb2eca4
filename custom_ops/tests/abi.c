/* What C programs compiled against nq.h rely on, on systems of 64 bits: numbers and layouts that change only with the
 * library's major version. Built and run by tests/device/test_embedding.py, with the installed header and library. */
#include <assert.h>
#include <stdio.h>

#include "nq.h"

#define SAME(expected, got) static_assert((expected) == (got), #got)

SAME(8, sizeof(nq_session));
SAME(40, sizeof(nq_switch_result));
SAME(0, offsetof(nq_switch_result, from_level));
SAME(4, offsetof(nq_switch_result, to_level));
SAME(8, offsetof(nq_switch_result, bytes_paged_in));
SAME(16, offsetof(nq_switch_result, bytes_paged_out));
SAME(24, offsetof(nq_switch_result, seconds));
SAME(32, offsetof(nq_switch_result, deferred));
SAME(40, sizeof(nq_operator));
SAME(0, offsetof(nq_operator, name));
SAME(8, offsetof(nq_operator, output));
SAME(16, offsetof(nq_operator, weight));
SAME(24, offsetof(nq_operator, reason));
SAME(32, offsetof(nq_operator, place));
SAME(80, sizeof(nq_layer_time));
SAME(0, offsetof(nq_layer_time, name));
SAME(8, offsetof(nq_layer_time, output));
SAME(16, offsetof(nq_layer_time, weight));
SAME(24, offsetof(nq_layer_time, shape));
SAME(32, offsetof(nq_layer_time, num_dims));
SAME(36, offsetof(nq_layer_time, place));
SAME(40, offsetof(nq_layer_time, macs));
SAME(48, offsetof(nq_layer_time, bytes));
SAME(56, offsetof(nq_layer_time, invocations));
SAME(64, offsetof(nq_layer_time, nanoseconds));
SAME(72, offsetof(nq_layer_time, least));
SAME(16, sizeof(nq_kernel));
SAME(0, offsetof(nq_kernel, kind));
SAME(8, offsetof(nq_kernel, isa));
SAME(0, NQ_OK);
SAME(1, NQ_INVALID_ARGUMENT);
SAME(2, NQ_NOT_READY);
SAME(3, NQ_DATA_LOSS);
SAME(4, NQ_INVALID_MODEL);
SAME(5, NQ_SYSTEM);
SAME(0, NQ_FUSED);
SAME(1, NQ_UNPACKED);
SAME(2, NQ_RUNTIME);
SAME(1, NQ_DROP_PAGE_CACHE);

int main(void) {
  int32_t level = 0;
  const nq_session session = nq_session_open();
  const nq_status before_a_model = nq_session_get_level(session, &level);
  nq_session_close(session);
  const nq_status closed = nq_session_get_level(session, &level);
  printf("%s %d %d\n", nq_version(), before_a_model, closed);
  return 0;
}
