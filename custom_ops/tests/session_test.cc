// Who is in a session, at which level invocations run, and what it says of itself.
#include "session/session.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "check.h"
#include "forked.h"
#include "session/registry.h"
#include "session_model.h"

namespace {

using nq::NestedWeight;
using nq::Precision;
using nq::Session;
using nq::Status;
using nq_test::kChecksum;
using nq_test::kFull;
using nq_test::kPart;
using nq_test::MappedModel;
using nq_test::Model;

TEST(starts_at_the_precision_asked_for) {
  const struct {
    Precision precision;
    int level;
  } starts[] = {{kFull, 2}, {kPart, 0}, {{Precision::Kind::kBits, 4}, 0}, {{Precision::Kind::kBits, 6}, 1}};
  for (const auto& start : starts) {
    MappedModel file(start.precision);
    CHECK_OK(file.model.session.prepare());
    CHECK_EQ(start.level, file.model.level());
    for (int level = 0; level < 3; ++level) CHECK_EQ(level <= start.level, file.model.resident(level));
    CHECK_EQ(start.level, file.model.invoke());
  }
}

TEST(precision_options) {
  Precision precision;
  CHECK_OK(nq::parse_precision("6", &precision));
  CHECK(precision.kind == Precision::Kind::kBits && precision.bits == 6);
  for (const char* text : {"", "0", "9", "16", "-4", "Full", "part ", "4.0"}) {
    CHECK_FAILS(NQ_INVALID_ARGUMENT, "expected full, part", nq::parse_precision(text, &precision));
  }
  MappedModel file({Precision::Kind::kBits, 5});
  CHECK_FAILS(NQ_INVALID_ARGUMENT, "a bit-width of the model, [4, 6, 8]", file.model.session.prepare());
}

TEST(a_switch_before_prepare_starts_there) {
  MappedModel file;
  const nq_switch_result result = file.model.set_level(0);
  CHECK_EQ(2, result.from_level);
  CHECK_EQ(file.nested.sections[0].size, result.bytes_paged_in);
  CHECK_EQ(uint64_t{0}, result.bytes_paged_out);
  CHECK_OK(file.model.session.prepare());
  CHECK_EQ(0, file.model.level());
  CHECK(file.model.resident(0) && !file.model.resident(1));
}

TEST(an_invocation_keeps_its_level) {
  MappedModel file;
  Model& model = file.model;
  CHECK_OK(model.session.prepare());
  CHECK_EQ(2, model.run(0));
  const nq_switch_result result = model.set_level(0);
  CHECK_EQ(1, result.deferred);
  CHECK_EQ(uint64_t{0}, result.bytes_paged_out);
  CHECK_EQ(0, model.level());
  CHECK_EQ(2, model.run(1));
  CHECK(model.resident(1) && model.resident(2));
  CHECK_EQ(2, model.run(2));
  CHECK(!model.resident(1) && !model.resident(2));
  CHECK_EQ(0, model.invoke());

  CHECK_EQ(0, model.run(2));  // in another order
  CHECK_EQ(0, model.set_level(2).deferred);
  CHECK_EQ(0, model.run(0));
  CHECK_EQ(0, model.run(1));
  CHECK_EQ(2, model.run(2));
}

// Graph 1 is a loop's body: it runs again and again within one invocation of graph 0.
TEST(a_mark_gives_all_graphs_one_level_until_the_next) {
  MappedModel file(kFull, 2);
  Model& model = file.model;
  CHECK_OK(model.session.prepare());
  const auto body = [&] {
    const int level = model.run(3);
    for (const size_t node : {4, 5}) CHECK_EQ(level, model.run(node));
    return level;
  };
  model.session.start();
  CHECK_EQ(2, body());
  CHECK_EQ(1, model.set_level(0).deferred);  // between two rounds
  CHECK_EQ(2, body());
  CHECK_EQ(2, model.run(0));
  CHECK_EQ(2, body());
  CHECK_EQ(2, model.run(1));
  CHECK_EQ(2, model.run(2));
  CHECK(model.resident(1) && model.resident(2));
  model.session.start();
  CHECK(!model.resident(1) && !model.resident(2));
  CHECK_EQ(0, body());
  CHECK_EQ(0, model.set_level(2).deferred);
  CHECK_EQ(0, body());
  model.session.invocation_ended();
  CHECK_EQ(2, body());  // without a mark every round is an invocation of its own
  CHECK_EQ(0, model.set_level(1).deferred);
  CHECK_EQ(1, body());
}

TEST(the_weight_of_a_mark_is_checked_and_no_node) {
  MappedModel file;
  Model& model = file.model;
  NestedWeight weight = file.nested.weights_at(file.mapped.data())[0];
  Session::Member* mark = model.session.add_start(weight, Status());
  CHECK_OK(model.session.prepare());
  int count = 0;
  CHECK_OK(model.session.num_weights(&count));
  CHECK_EQ(3, count);  // it shares a weight's levels
  CHECK_EQ(2, model.invoke());
  CHECK_EQ(0, model.set_level(0).deferred);  // all nodes of the graph have run
  model.session.remove(mark);
}

TEST(each_graph_latches_for_itself) {
  MappedModel file(kFull, 2);
  Model& model = file.model;
  CHECK_OK(model.session.prepare());
  CHECK_EQ(2, model.run(0));
  CHECK_EQ(1, model.set_level(0).deferred);
  for (size_t node = 3; node < 6; ++node) CHECK_EQ(0, model.run(node));
  CHECK(model.resident(2));  // the first graph still reads it
  CHECK_EQ(2, model.run(1));
  CHECK_EQ(2, model.run(2));
  CHECK(!model.resident(2));
}

TEST(bad_arguments) {
  MappedModel file;
  nq_switch_result result = {};
  Session::Memory memory;
  CHECK_FAILS(NQ_INVALID_ARGUMENT, "level 3; expected one of the model's, 0 to 2",
              file.model.session.set_level(3, 0, &result));
  CHECK_FAILS(NQ_INVALID_ARGUMENT, "level -1", file.model.session.set_level(-1, 0, &result));
  CHECK_FAILS(NQ_INVALID_ARGUMENT, "flags 0x2", file.model.session.set_level(0, 2, &result));
  CHECK_FAILS(NQ_INVALID_ARGUMENT, "level 7", file.model.session.memory(7, &memory));
  CHECK_FAILS(NQ_INVALID_ARGUMENT, "another delegate", file.model.session.attach(kFull, kChecksum));
}

TEST(without_nested_weights) {
  Session session;
  int level = 0, count = -1;
  nq::SectionTable table;
  CHECK_FAILS(NQ_NOT_READY, "no nested model has been loaded", session.prepare());
  CHECK_FAILS(NQ_NOT_READY, "no nested model has been loaded", session.levels(&table));
  CHECK_OK(session.attach(kFull, kChecksum));
  session.model_loaded();
  CHECK_OK(session.prepare());
  CHECK_OK(session.levels(&table));
  CHECK_EQ(0, table.num_sections);
  CHECK_OK(session.num_weights(&count));
  CHECK_EQ(0, count);
  CHECK_FAILS(NQ_NOT_READY, "no nested weights", session.get_level(&level));
  session.detach();
  CHECK_FAILS(NQ_NOT_READY, "no nested model has been loaded", session.prepare());
}

TEST(a_weight_that_cannot_be_used_is_named_at_prepare) {
  MappedModel file;
  Session::Member* bad =
      file.model.session.add(&file, NestedWeight(), nq::error(NQ_INVALID_MODEL, "no good").at("weight 'x'"));
  CHECK_FAILS(NQ_INVALID_MODEL, "weight 'x': no good", file.model.session.prepare());
  file.model.session.remove(bad);
  CHECK_OK(file.model.session.prepare());
}

TEST(rebuilt_nodes_keep_the_level) {
  MappedModel file;
  Model& model = file.model;
  model.set_level(1);
  for (Session::Member* node : model.nodes) model.session.remove(node);
  model.nodes.clear();
  for (NestedWeight& weight : file.nested.weights_at(file.mapped.data())) {
    model.nodes.push_back(model.session.add(&file, std::move(weight), Status()));
  }
  CHECK_OK(model.session.prepare());
  CHECK_EQ(1, model.level());
}

TEST(handles) {
  std::shared_ptr<Session> session;
  CHECK_FAILS(NQ_INVALID_ARGUMENT, "no session 0", nq::find_session(0, &session));
  const nq_session first = nq::open_session(), second = nq::open_session();
  CHECK(first != 0 && second != first);
  CHECK_OK(nq::find_session(first, &session));
  nq::close_session(first);
  nq::close_session(first);
  CHECK_FAILS(NQ_INVALID_ARGUMENT, "no session", nq::find_session(first, &session));
  CHECK_OK(nq::find_session(second, &session));
  nq::close_session(second);
}

// One thread invokes, three others switch and look. Every invocation reads what its level gives, whole.
TEST(switching_while_invoking) {
  MappedModel file;
  Model& model = file.model;
  CHECK_OK(model.session.prepare());
  std::atomic<bool> stop{false};
  std::atomic<int> switches{0};
  const auto controller = [&](unsigned seed) {
    std::mt19937 random(seed);
    while (!stop) {
      nq_switch_result result = {};
      if (!model.session.set_level(static_cast<int>(random() % 3), 0, &result).ok()) break;
      ++switches;
    }
  };
  std::thread first(controller, 1), second(controller, 2);
  std::thread observer([&] {
    while (!stop) {
      Session::Memory memory;
      static_cast<void>(model.session.memory(2, &memory));
      int level = 0;
      static_cast<void>(model.session.get_level(&level));
    }
  });
  for (int invocation = 0; invocation < 2000 || switches < 200; ++invocation) {
    const int level = model.session.begin(model.nodes[0]);
    for (size_t node = 0; node < 3; ++node) {
      if (node > 0) {
        CHECK_EQ(level, model.session.begin(model.nodes[node]));
      }
      for (int k = 0; k <= level; ++k) {
        const nq::ByteSpan bytes = model.nodes[node]->weight.levels[k];
        const size_t offset = static_cast<size_t>(bytes.data - file.mapped.data());
        CHECK_EQ(int{file.nested.bytes[offset]}, int{bytes.data[0]});
      }
      model.session.end(model.nodes[node]);
    }
  }
  stop = true;
  first.join();
  second.join();
  observer.join();
  const int level = model.level();
  for (int k = 0; k < 3; ++k) CHECK_EQ(k <= level, model.resident(k));
}

TEST(a_fork_amid_switches_and_invocations_leaves_no_lock_held) {
  MappedModel file;
  Session& session = file.model.session;
  CHECK_OK(session.prepare());
  std::atomic<bool> stop{false};
  std::thread switching([&] {
    nq_switch_result result = {};
    for (int level = 0; !stop; level = 2 - level) static_cast<void>(session.set_level(level, 0, &result));
  });
  std::thread invoking([&] {
    while (!stop) file.model.invoke();
  });
  std::thread opening([&] {
    while (!stop) nq::close_session(nq::open_session());
  });
  for (int i = 0; i < 40; ++i) {
    CHECK(nq_test::in_child([&] {
      const nq_session opened = nq::open_session();
      nq_switch_result result = {};
      for (const int level : {0, 2}) {
        if (!session.set_level(level, 0, &result).ok()) return false;
        if (file.model.invoke() != level) return false;
      }
      nq::close_session(opened);
      return true;
    }));
  }
  stop = true;
  for (std::thread* thread : {&switching, &invoking, &opening}) thread->join();
}

TEST(the_last_word_on_a_graph_counts) {
  Session session;
  nq::Delegation told;
  CHECK_FAILS(NQ_NOT_READY, "no nested model", session.delegation(&told));
  CHECK_OK(session.attach(kFull, kChecksum));
  session.model_loaded();
  const int graphs[2] = {};
  session.set_delegation(&graphs[1], {{{"ADD", "a", std::nullopt, NQ_FUSED, ""}}, 4});
  session.set_delegation(&graphs[0], {{{"CONV_2D", "b", "w", NQ_UNPACKED, "why"}}, 0});
  session.set_delegation(&graphs[1], {{{"MUL", "c", std::nullopt, NQ_FUSED, ""}}, 2});
  CHECK_OK(session.delegation(&told));
  CHECK_EQ(2, told.num_partitions);
  CHECK_EQ(size_t{2}, told.operators.size());
  CHECK(told.operators[0].name == "MUL" && told.operators[1].reason == "why");
  session.detach();
  CHECK_FAILS(NQ_NOT_READY, "no nested model", session.delegation(&told));
  CHECK_OK(session.attach(kFull, kChecksum));
  session.model_loaded();
  CHECK_OK(session.delegation(&told));
  CHECK(told.operators.empty());
  session.detach();
}

}  // namespace
