// Sessions by handle. A handle may be closed while a delegate still uses its session.
#pragma once

#include <memory>

#include "nq.h"
#include "session/session.h"

namespace nq {

nq_session open_session();
void close_session(nq_session handle);
Status find_session(nq_session handle, std::shared_ptr<Session>* session);

}  // namespace nq
