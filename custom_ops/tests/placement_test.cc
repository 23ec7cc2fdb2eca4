// What weights of one file must agree on (FORMAT.md, section 7, rules 1, 2, 5 and 7).
#include "session/placement.h"

#include "check.h"
#include "nested_file.h"

namespace {

using nq::NestedWeight;
using nq::Placement;
using nq::Status;
using nq_test::Bytes;
using nq_test::NestedFile;

Status place(const std::vector<NestedWeight>& weights, Placement* placement) {
  std::vector<const NestedWeight*> pointers;
  for (const NestedWeight& weight : weights) pointers.push_back(&weight);
  return nq::place(pointers, placement);
}

// Placement of the example file after a change of its weights.
template <typename Change>
Status place_changed(const Change& change) {
  const NestedFile file(nq_test::example_weights());
  std::vector<NestedWeight> weights = file.weights_at(file.bytes.data());
  change(&weights);
  Placement placement;
  return place(weights, &placement);
}

// The same after a change of its section table.
template <typename Change>
Status place_with_table(const Change& change) {
  NestedFile file(nq_test::example_weights());
  change(&file.sections);
  file.write_table();
  Placement placement;
  return place(file.weights_at(file.bytes.data()), &placement);
}

TEST(sections_are_found) {
  const NestedFile file(nq_test::example_weights());
  Placement placement;
  CHECK_OK(place(file.weights_at(file.bytes.data()), &placement));
  CHECK_EQ(3, placement.num_levels());
  CHECK_EQ(3, placement.num_weights);
  CHECK(!placement.pageable());
  for (size_t k = 0; k < 3; ++k) CHECK(placement.sections[k].data == file.bytes.data() + file.sections[k].offset);
}

TEST(a_mapped_file_is_pageable) {
  const NestedFile file(nq_test::example_weights());
  const nq_test::MappedFile mapped(file.bytes);
  Placement placement;
  CHECK_OK(place(file.weights_at(mapped.data()), &placement));
  CHECK(placement.pageable());
  for (size_t k = 0; k < 3; ++k) CHECK(placement.sections[k].pages.start == mapped.data() + file.sections[k].offset);
}

TEST(shared_buffers_count_once) {
  const NestedFile file(nq_test::example_weights());
  std::vector<NestedWeight> weights = file.weights_at(file.bytes.data());
  weights.push_back(weights[1]);
  Placement placement;
  CHECK_OK(place(weights, &placement));
  CHECK_EQ(3, placement.num_weights);
}

TEST(gaps_between_buffers_and_sections_are_allowed) {
  const NestedFile far_apart(nq_test::example_weights(), 3);
  Placement placement;
  CHECK_OK(place(far_apart.weights_at(far_apart.bytes.data()), &placement));
  CHECK_OK(place_changed([](auto* weights) { weights->erase(weights->begin() + 1); }));
}

TEST(weights_must_agree) {
  const NestedFile other(nq_test::example_weights(), 1);
  CHECK_FAILS(NQ_INVALID_MODEL, "weight 'w1': its section table is another one; expected that of 'w0'",
              place_changed([&](auto* weights) { (*weights)[1].table.data = other.bytes.data(); }));
  CHECK_FAILS(NQ_INVALID_MODEL, "weight 'w2': its section table",
              place_changed([&](auto* weights) { (*weights)[2].table.size -= 1; }));
  CHECK_FAILS(NQ_INVALID_MODEL, "weight 'w1': it has 2 levels; expected one for each of the table's 3",
              place_changed([](auto* weights) { (*weights)[1].block.num_levels = 2; }));
  CHECK_FAILS(NQ_INVALID_MODEL, "in another file",
              place_changed([&](auto* weights) { (*weights)[1].allocation = &other; }));
}

TEST(a_damaged_table_is_refused) {
  NestedFile file(nq_test::example_weights());
  file.bytes[20] ^= 1;
  Placement placement;
  CHECK_FAILS(NQ_INVALID_MODEL, "checksum", place(file.weights_at(file.bytes.data()), &placement));
}

TEST(buffers_must_lie_where_the_options_say) {
  CHECK_FAILS(NQ_INVALID_MODEL, "weight 'w1', level 0: its tensor lies elsewhere",
              place_changed([](auto* weights) { (*weights)[1].levels[0].data += 64; }));
  CHECK_FAILS(NQ_INVALID_MODEL, "inside its section",
              place_changed([](auto* weights) { (*weights)[1].block.levels[0].offset = 1u << 30; }));
  CHECK_FAILS(NQ_INVALID_MODEL, "inside its section",
              place_changed([](auto* weights) { (*weights)[1].block.levels[2].offset = UINT64_MAX - 63; }));
  CHECK_FAILS(NQ_INVALID_MODEL, "section 2 lies elsewhere", place_changed([](auto* weights) {
                for (NestedWeight& weight : *weights) weight.levels[2].data += 64;
              }));
}

TEST(overlapping_buffers_are_refused) {
  CHECK_FAILS(NQ_INVALID_MODEL, "after 'w0'", place_changed([](auto* weights) {
                NestedWeight& weight = (*weights)[1];
                weight.block.levels[0].offset -= 64;
                weight.levels[0].data -= 64;
              }));
  CHECK_FAILS(NQ_INVALID_MODEL, "after 'w0'", place_changed([](auto* weights) {
                NestedWeight copy = (*weights)[0];  // the same start, another size
                copy.name = "copy";
                copy.levels[0].size += 64;
                weights->push_back(copy);
              }));
}

TEST(sections_must_be_filled_by_their_buffers) {
  CHECK_FAILS(NQ_INVALID_MODEL, "expected all of it", place_changed([](auto* weights) { weights->pop_back(); }));
  CHECK_FAILS(NQ_INVALID_MODEL, "expected all of it",
              place_changed([](auto* weights) { weights->erase(weights->begin()); }));
  CHECK_FAILS(NQ_INVALID_MODEL, "expected all of it",
              place_with_table([](auto* sections) { (*sections)[2].size += 64; }));
  CHECK_FAILS(NQ_INVALID_MODEL, "expected all of it",
              place_with_table([](auto* sections) { (*sections)[2].size = UINT64_MAX / 2; }));
  CHECK_FAILS(NQ_INVALID_MODEL, "inside its section",
              place_with_table([](auto* sections) { (*sections)[0].size -= 64; }));
}

}  // namespace
