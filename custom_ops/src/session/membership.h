// A weight in a session for as long as its node lives, however that ends.
#pragma once

#include <memory>

#include "session/session.h"

namespace nq {

struct LeaveSession {
  std::shared_ptr<Session> session;
  void operator()(Session::Member* member) const { session->remove(member); }
};

using Membership = std::unique_ptr<Session::Member, LeaveSession>;

inline Membership join_session(const std::shared_ptr<Session>& session, const void* graph, NestedWeight weight,
                               Status status) {
  return Membership(session->add(graph, std::move(weight), std::move(status)), {session});
}

}  // namespace nq
