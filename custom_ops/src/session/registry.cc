#include "session/registry.h"

#include <unordered_map>
#include <utility>

#include "threads/locks.h"

namespace nq {
namespace {

struct Registry {
  Mutex mutex{Rank::kRegistry};
  nq_session last_handle NQ_GUARDED_BY(mutex) = 0;
  std::unordered_map<nq_session, std::shared_ptr<Session>> sessions NQ_GUARDED_BY(mutex);
};

// Never destroyed: interpreters of a Python process may end after this library's static objects.
Registry& registry() {
  static Registry& instance = *new Registry;
  return instance;
}

}  // namespace

nq_session open_session() {
  auto session = std::make_shared<Session>();
  Registry& all = registry();
  const Lock lock(all.mutex);
  const nq_session handle = ++all.last_handle;
  all.sessions.emplace(handle, std::move(session));
  return handle;
}

void close_session(nq_session handle) {
  std::shared_ptr<Session> closed;  // its end, if it is that, waits for the lock's
  Registry& all = registry();
  const Lock lock(all.mutex);
  const auto found = all.sessions.find(handle);
  if (found == all.sessions.end()) return;
  closed = std::move(found->second);
  all.sessions.erase(found);
}

Status find_session(nq_session handle, std::shared_ptr<Session>* session) {
  std::shared_ptr<Session> replaced;  // its end, too, waits for the lock's
  Registry& all = registry();
  const Lock lock(all.mutex);
  const auto found = all.sessions.find(handle);
  if (found == all.sessions.end()) {
    return error(NQ_INVALID_ARGUMENT, "no session %llu; expected an open handle of nq_session_open",
                 static_cast<unsigned long long>(handle));
  }
  replaced = std::exchange(*session, found->second);
  return {};
}

}  // namespace nq
