// Precision, paging and their timing, on a file of three levels.
#include "session/session.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "check.h"
#include "forked.h"
#include "format/crc32.h"
#include "nested_file.h"
#include "paging/pages.h"
#include "session/registry.h"

namespace {

using nq::NestedWeight;
using nq::Precision;
using nq::Session;
using nq::Status;
using nq_test::MappedFile;
using nq_test::NestedFile;

constexpr Precision kFull = {Precision::Kind::kFull, 0};
constexpr Precision kPart = {Precision::Kind::kPart, 0};
constexpr nq::ChecksumKernel kChecksum = {"scalar", [] { return true; }, nq::crc32};

// A session with a loaded model: its weights are the nodes of one graph, run in order.
struct Model {
  explicit Model(const NestedFile& nested, const uint8_t* base, const Precision& start = kFull, int num_graphs = 1) {
    CHECK_OK(session.attach(start, kChecksum));
    session.model_loaded();
    for (int graph = 0; graph < num_graphs; ++graph) {
      for (NestedWeight& weight : nested.weights_at(base)) {
        nodes.push_back(session.add(&graphs[graph], std::move(weight), Status()));
      }
    }
  }
  ~Model() {
    for (Session::Member* node : nodes) session.remove(node);
    session.detach();
  }

  // The level that the node used.
  int run(size_t node) {
    const int level = session.begin(nodes[node]);
    session.end(nodes[node]);
    return level;
  }

  // A whole invocation; its nodes agree on the level.
  int invoke() {
    const int level = run(0);
    for (size_t node = 1; node < nodes.size(); ++node) CHECK_EQ(level, run(node));
    return level;
  }

  nq_switch_result set_level(int level, uint32_t flags = 0) {
    nq_switch_result result = {};
    CHECK_OK(session.set_level(level, flags, &result));
    return result;
  }

  int level() {
    int level = -1;
    CHECK_OK(session.get_level(&level));
    return level;
  }

  Session::Memory memory(int level) {
    Session::Memory memory;
    CHECK_OK(session.memory(level, &memory));
    return memory;
  }

  bool resident(int level) {
    const Session::Memory held = memory(level);
    CHECK(held.resident == 0 || held.resident == held.size);
    return held.resident != 0;
  }

  const int graphs[2] = {};
  Session session;
  std::vector<Session::Member*> nodes;
};

struct MappedModel {
  explicit MappedModel(const Precision& start = kFull, int num_graphs = 1)
      : model(nested, mapped.data(), start, num_graphs) {}
  NestedFile nested{nq_test::example_weights()};
  MappedFile mapped{nested.bytes};
  Model model;
};

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

// Reads the model's first bytes, as loading does and layers do at their first run.
uint64_t read_graph(const MappedModel& file) {
  const auto size = static_cast<size_t>(file.nested.sections[0].offset);
  volatile uint8_t byte = 0;
  for (size_t i = 0; i < size; i += 1024) byte = file.mapped.data()[i];
  static_cast<void>(byte);
  uint64_t resident = 0;
  CHECK_OK(nq::resident_bytes(file.mapped.data(), size, &resident));
  return resident;
}

TEST(the_graphs_pages_go_after_the_first_invocation_at_a_level) {
  MappedModel file;
  const uint64_t size = file.nested.sections[0].offset;
  const auto resident = [&] {
    uint64_t bytes = 0;
    CHECK_OK(nq::resident_bytes(file.mapped.data(), static_cast<size_t>(size), &bytes));
    return bytes;
  };
  CHECK_OK(file.model.session.prepare());
  CHECK_EQ(size, read_graph(file));
  file.model.run(0);
  CHECK_EQ(size, resident());  // it is not over
  file.model.run(1);
  file.model.run(2);
  CHECK_EQ(uint64_t{0}, resident());
  CHECK_EQ(size, read_graph(file));
  file.model.invoke();
  CHECK_EQ(size, resident());  // what later invocations read stays
  file.model.set_level(0);
  CHECK_EQ(size, resident());
  file.model.invoke();
  CHECK_EQ(uint64_t{0}, resident());
  CHECK(file.model.resident(0));
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

TEST(a_switch_moves_sections) {
  MappedModel file;
  Model& model = file.model;
  CHECK_OK(model.session.prepare());
  const auto& sections = file.nested.sections;

  nq_switch_result result = model.set_level(0);
  CHECK_EQ(2, result.from_level);
  CHECK_EQ(0, result.to_level);
  CHECK_EQ(uint64_t{0}, result.bytes_paged_in);
  CHECK_EQ(sections[1].size + sections[2].size, result.bytes_paged_out);
  CHECK_EQ(0, result.deferred);
  CHECK(result.seconds > 0);
  CHECK(model.resident(0) && !model.resident(1) && !model.resident(2));

  result = model.set_level(1);
  CHECK_EQ(sections[1].size, result.bytes_paged_in);
  CHECK_EQ(uint64_t{0}, result.bytes_paged_out);
  CHECK(model.resident(1) && !model.resident(2));
  CHECK_EQ(1, model.invoke());

  result = model.set_level(1);
  CHECK_EQ(uint64_t{0}, result.bytes_paged_in + result.bytes_paged_out);
  result = model.set_level(0, NQ_DROP_PAGE_CACHE);
  CHECK_EQ(sections[1].size, result.bytes_paged_out);
  result = model.set_level(2);
  CHECK_EQ(sections[1].size + sections[2].size, result.bytes_paged_in);
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

TEST(anonymous_memory_switches_and_moves_nothing) {
  const NestedFile nested(nq_test::example_weights());
  const nq_test::Bytes before = nested.bytes;
  Model model(nested, nested.bytes.data());
  CHECK_OK(model.session.prepare());
  const nq_switch_result result = model.set_level(0, NQ_DROP_PAGE_CACHE);
  CHECK_EQ(uint64_t{0}, result.bytes_paged_in + result.bytes_paged_out);
  CHECK_EQ(0, model.invoke());
  const Session::Memory memory = model.memory(2);
  CHECK_EQ(nested.sections[2].size, memory.size);
  CHECK_EQ(memory.size, memory.resident);
  CHECK(!memory.pageable);
  CHECK(nested.bytes == before);
}

// As in an Android package, which aligns what it stores uncompressed to 4 bytes.
TEST(a_model_inside_another_file_keeps_less_than_a_page_of_each_level) {
  const NestedFile nested(nq_test::example_weights());
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  for (const size_t offset : {size_t{4}, size_t{16384 - 4}, size_t{16384 + 4096 + 60}, size_t{3 * 16384}}) {
    nq_test::Bytes archive(offset, 0xAA);
    archive.insert(archive.end(), nested.bytes.begin(), nested.bytes.end());
    archive.resize(archive.size() + 5000, 0x55);
    const MappedFile mapped(archive);
    Model model(nested, mapped.data() + offset);
    CHECK_OK(model.session.prepare());
    for (int round = 0; round < 2; ++round) {
      for (const int level : {2, 0, 1, 0, 2}) {
        model.set_level(level);
        CHECK_EQ(level, model.invoke());
        for (int k = 0; k < 3; ++k) {
          const Session::Memory memory = model.memory(k);
          CHECK(memory.pageable);
          if (k <= level) {
            CHECK_EQ(memory.size, memory.resident);
          } else {
            CHECK(memory.resident < (offset % page == 0 ? 1 : page));
          }
        }
      }
    }
    CHECK(std::equal(nested.bytes.begin(), nested.bytes.end(), mapped.data() + offset));
  }
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

TEST(an_upgrade_cancels_a_deferred_page_out) {
  MappedModel file;
  Model& model = file.model;
  CHECK_OK(model.session.prepare());
  model.run(0);
  CHECK_EQ(1, model.set_level(0).deferred);
  const nq_switch_result back = model.set_level(1);
  CHECK_EQ(uint64_t{0}, back.bytes_paged_in);
  CHECK_EQ(1, back.deferred);  // level 2 still has to go
  model.run(1);
  model.run(2);
  CHECK(model.resident(1) && !model.resident(2));
}

TEST(an_invocation_that_failed_does_not_keep_pages) {
  MappedModel file;
  Model& model = file.model;
  CHECK_OK(model.session.prepare());
  model.run(0);
  CHECK_EQ(1, model.set_level(0).deferred);
  model.session.invocation_ended();
  CHECK(!model.resident(2));
  // Untold, the next invocation's first node shows it.
  model.set_level(2);
  CHECK_EQ(2, model.run(0));
  model.run(1);
  CHECK_EQ(1, model.set_level(0).deferred);
  CHECK_EQ(0, model.invoke());
  CHECK(!model.resident(2));
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

TEST(a_damaged_level_leaves_those_before_it_usable) {
  NestedFile nested(nq_test::example_weights());
  nested.bytes[nested.sections[2].offset + 9] ^= 0x10;
  const MappedFile mapped(nested.bytes);
  {
    Model model(nested, mapped.data());
    CHECK_FAILS(NQ_DATA_LOSS, "checksum of level 2 (8 bits)", model.session.prepare());
    CHECK_EQ(2, model.level());
    CHECK(!model.resident(0));
    model.set_level(1);
    CHECK_OK(model.session.prepare());
  }
  Model model(nested, mapped.data(), kPart);
  CHECK_OK(model.session.prepare());
  nq_switch_result result = {};
  CHECK_FAILS(NQ_DATA_LOSS, "lower precisions still work", model.session.set_level(2, 0, &result));
  CHECK_EQ(0, model.level());
  CHECK(model.resident(0) && !model.resident(1) && !model.resident(2));
  CHECK_EQ(0, model.invoke());
  model.set_level(1);
  CHECK_EQ(1, model.invoke());
}

void overwrite(const std::string& path, uint64_t offset, const std::string& bytes) {
  FILE* file = std::fopen(path.c_str(), "r+b");
  CHECK(file != nullptr && std::fseek(file, static_cast<long>(offset), SEEK_SET) == 0);
  CHECK_EQ(bytes.size(), std::fwrite(bytes.data(), 1, bytes.size(), file));
  CHECK_EQ(0, std::fclose(file));
}

void make_empty_file(const std::string& path) {
  FILE* file = std::fopen(path.c_str(), "wb");
  CHECK(file != nullptr && std::fclose(file) == 0);
}

TEST(a_level_that_has_changed_is_verified_again) {
  MappedModel file;
  Model& model = file.model;
  CHECK_OK(model.session.prepare());
  model.set_level(0);
  const uint64_t at = file.nested.sections[2].offset + 5;
  const std::string right(1, static_cast<char>(file.nested.bytes[at]));
  usleep(20000);  // a tick of the clock that files' times are of
  overwrite(file.mapped.path(), at, std::string(1, static_cast<char>(right[0] ^ 1)));
  nq_switch_result result = {};
  CHECK_FAILS(NQ_DATA_LOSS, "checksum of level 2 (8 bits)", model.session.set_level(2, 0, &result));
  CHECK_EQ(0, model.invoke());
  CHECK(!model.resident(1) && !model.resident(2));
  usleep(20000);
  overwrite(file.mapped.path(), at, right);
  model.set_level(2);
  CHECK_EQ(2, model.invoke());
}

TEST(a_level_in_use_that_has_changed_is_told_at_the_next_upgrade) {
  MappedModel file(kPart);
  Model& model = file.model;
  CHECK_OK(model.session.prepare());
  usleep(20000);
  overwrite(file.mapped.path(), file.nested.sections[0].offset, std::string(64, '\x5A'));
  nq_switch_result result = {};
  CHECK_FAILS(NQ_DATA_LOSS, "changed under the interpreter", model.session.set_level(2, 0, &result));
  CHECK_EQ(0, model.level());
}

TEST(a_file_that_has_been_cut_is_never_read_behind_its_end) {
  MappedModel file;
  Model& model = file.model;
  CHECK_OK(model.session.prepare());
  model.set_level(1);
  CHECK_EQ(0, truncate(file.mapped.path().c_str(), static_cast<off_t>(file.nested.sections[2].offset)));
  nq_switch_result result = {};
  CHECK_FAILS(NQ_DATA_LOSS, "cut under the interpreter", model.session.set_level(2, 0, &result));
  CHECK_EQ(1, model.level());
  CHECK_EQ(1, model.invoke());
  model.set_level(0);  // memory can be given back all the same
  CHECK_FAILS(NQ_DATA_LOSS, "cut under the interpreter", model.session.set_level(1, 0, &result));
}

TEST(a_file_that_was_replaced_is_the_old_one_still) {
  MappedModel file;
  Model& model = file.model;
  CHECK_OK(model.session.prepare());
  model.set_level(0);
  CHECK_EQ(0, unlink(file.mapped.path().c_str()));
  make_empty_file(file.mapped.path());
  model.set_level(2, NQ_DROP_PAGE_CACHE);
  CHECK_EQ(2, model.invoke());
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

// As interpreters of one loaded model do: what one of them pages out, another may be reading.
TEST(sessions_share_a_mapping) {
  const NestedFile nested(nq_test::example_weights());
  const MappedFile mapped(nested.bytes);
  std::atomic<int> wrong{0}, invocations{0}, switches{0};
  std::atomic<bool> stop{false};
  const auto invoke = [&](Model* model) {
    const int level = model->session.begin(model->nodes[0]);
    for (size_t node = 0; node < 3; ++node) {
      if (node > 0 && model->session.begin(model->nodes[node]) != level) ++wrong;
      for (int k = 0; k <= level; ++k) {
        const nq::ByteSpan bytes = model->nodes[node]->weight.levels[k];
        if (!std::equal(bytes.data, bytes.data + bytes.size, nested.bytes.data() + (bytes.data - mapped.data()))) {
          ++wrong;
        }
      }
      model->session.end(model->nodes[node]);
    }
    ++invocations;
  };
  Model first(nested, mapped.data()), second(nested, mapped.data(), kPart);
  Model* const models[] = {&first, &second};
  for (Model* model : models) CHECK_OK(model->session.prepare());
  std::vector<std::thread> threads;
  for (Model* model : models) {
    threads.emplace_back([&, model] {
      while (!stop) invoke(model);
    });
  }
  threads.emplace_back([&] {  // others come and go
    while (!stop) {
      Model model(nested, mapped.data(), kPart);
      if (!model.session.prepare().ok()) ++wrong;
      invoke(&model);
    }
  });
  std::mt19937 random(7);
  while (invocations < 2000 || switches < 200) {
    nq_switch_result result = {};
    if (!models[random() % 2]->session.set_level(static_cast<int>(random() % 3), 0, &result).ok()) ++wrong;
    ++switches;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(0, wrong.load());
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
