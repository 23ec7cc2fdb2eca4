// What a switch moves, and files that are damaged, changed, cut or replaced, on a file of three levels.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "check.h"
#include "paging/pages.h"
#include "session/session.h"
#include "session_model.h"

namespace {

using nq::Session;
using nq_test::kPart;
using nq_test::MappedFile;
using nq_test::MappedModel;
using nq_test::Model;
using nq_test::NestedFile;

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
  CHECK_FAILS(NQ_DATA_LOSS, "truncated while in use", model.session.set_level(2, 0, &result));
  CHECK_EQ(1, model.level());
  CHECK_EQ(1, model.invoke());
  model.set_level(0);  // memory can be given back all the same
  CHECK_FAILS(NQ_DATA_LOSS, "truncated while in use", model.session.set_level(1, 0, &result));
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

}  // namespace
