// A whole task of spaced rows: set after set of blocks of channels, and of each all rows, unit by unit. While a unit is
// multiplied, the sums of the one before go to the output and the codes of the next set are unpacked. Textual, as
// amx_tiles.h.
#pragma once

#include <algorithm>
#include <climits>

#include "kernels/gemm/amx_unit.h"

namespace nq {
namespace {

// Up to so many steps of the depth, the codes of four blocks stay in the L1 cache beside the rows.
constexpr uint32_t kWideSteps = 4;

// Where one unit has all rows, each code is used once: it is unpacked so many steps ahead, and stays in the L1 cache.
constexpr uint32_t kRingSteps = 4, kRingAhead = 2;

// The most groups of rows that a unit of so many blocks has, and blocks of a unit of so many groups.
constexpr int kMostTogether[kAccumulators] = {4, 2, 1, 1};

inline bool in_narrow_pieces(const GemmRows& rows) { return rows.num_pieces > 1 && rows.piece_depth % kStepDepth != 0; }

class SpacedWalk {
 public:
  SpacedWalk(const GemmTask& task, const CellMiddle& middle, const Requantization& requantization, int8_t* out,
             size_t out_stride)
      : task_(task),
        middle_(middle),
        rows_(task.rows, task.scratch),
        steps_(task.rows.num_pieces * steps_of(task.rows.piece_depth)),
        end_(std::min(task.first_block + task.num_blocks, blocks_of(task.weight.block))),
        narrow_(in_narrow_pieces(task.rows)),
        on_ring_(rows_.num_groups() <= kAccumulators && !narrow_),
        width_(width()),
        capacity_(on_ring_ ? kRingSteps : 2 * steps_),
        requantizer_(make_requantizer(requantization)),
        multiplier_(requantization.multiplier),
        clamp_(clamp_of(requantization)),
        lines_{out, out_stride, task.rows.spacing.line, task.rows.spacing.length},
        codes_(task.weight, middle, task.first_block, end_, width_, capacity_, codes_memory(task)) {
    aside_.codes = &codes_;
    aside_.whole_steps = on_ring_;
    aside_.finish = &finish_;
    aside_.packs = static_cast<int>((kGroupRows + steps_ - 1) / steps_);
  }

  void run() {
    const uint32_t unpacked = narrow_ ? 0 : on_ring_ ? kRingAhead : steps_;
    for (uint32_t step = 0; step < unpacked; ++step) codes_.unpack_step();
    for (uint32_t block = task_.first_block; block < end_; block += width_) run_set(block);
    store_held(held_);
    finish_.rest();
    held_finish_.rest();
  }

  static size_t scratch_bytes(uint32_t depth, uint32_t num_pieces) {
    const size_t steps = std::max<size_t>(size_t{steps_of(depth)} + num_pieces, kRingSteps);
    return SpacedRows::scratch_bytes(depth, num_pieces) + 2 * steps * kTileBlocks * kStepCodes;
  }

 private:
  static uint32_t blocks_of(const OptionBlock& block) {
    return (block.channels + kMatrixChannels - 1) / kMatrixChannels;
  }

  static int8_t* codes_memory(const GemmTask& task) {
    return reinterpret_cast<int8_t*>(task.scratch) +
           SpacedRows::scratch_bytes(task.weight.block.depth, task.rows.num_pieces);
  }

  uint32_t width() const {
    if (on_ring_) return static_cast<uint32_t>(kMostTogether[rows_.num_groups() - 1]);
    return steps_ <= kWideSteps || narrow_ ? kTileBlocks : 2;
  }

  uint32_t blocks_at(uint32_t block) const { return block < end_ ? std::min(width_, end_ - block) : 0; }

  void run_set(uint32_t block) {
    const auto blocks = static_cast<int>(blocks_at(block));
    const int groups = on_ring_ ? rows_.num_groups() : kMostTogether[blocks - 1];
    if (narrow_) {
      unpack_pieces(block, blocks);
    } else if (!on_ring_) {
      aside_.earned = blocks_at(block + width_);
      aside_.price = (rows_.num_groups() + groups - 1) / groups;
    }
    for (int group = 0; group < rows_.num_groups(); group += groups) {
      run_unit(group, std::min(groups, rows_.num_groups() - group), block, blocks);
    }
    if (!narrow_) slot_ = (slot_ + steps_) % capacity_;
  }

  void run_unit(int first_group, int groups, uint32_t block, int blocks) {
    const uint32_t channel = block * kMatrixChannels;
    const StepCodes codes = {codes_.codes(), width_ * kStepCodes, slot_, capacity_};
    find_unit(groups, blocks)(task_.rows, rows_.unit(first_group, groups), codes, task_.bias + channel, held_, &aside_);
    finish_.rest();
    finish_ = held_finish_;
    hold(first_group, groups, channel, blocks);
  }

  // What the unit has left in tiles.
  void hold(int first_group, int groups, uint32_t channel, int blocks) {
    int32_t* sums = sums_[side_];
    side_ ^= 1;
    held_.num_tiles = groups * blocks;
    held_.stride = static_cast<size_t>(blocks) * kMatrixChannels * sizeof(int32_t);
    for (int g = 0, tile = 0; g < groups; ++g) {
      for (int b = 0; b < blocks; ++b, ++tile) {
        held_.place[tile] = sums + (g * kGroupRows * blocks + b) * kMatrixChannels;
      }
    }
    held_finish_.packs = find_packs(blocks, clamp_);
    held_finish_.requantizer = &requantizer_;
    held_finish_.multiplier = multiplier_ + channel;
    held_finish_.num_channels =
        std::min<uint32_t>(static_cast<uint32_t>(blocks) * kMatrixChannels, task_.weight.block.channels - channel);
    held_finish_.lines = &lines_;
    held_finish_.sums = sums;
    held_finish_.num_groups = groups;
    held_finish_.group_rows = rows_.group_rows();
    held_finish_.group = held_finish_.row = 0;
    for (int g = 0; g < groups; ++g) held_finish_.cursors[g] = lines_.at(rows_.first_row(first_group + g), channel);
  }

  // In the ring's first half, by way of its second one.
  void unpack_pieces(uint32_t block, int blocks) {
    const GemmRows& rows = task_.rows;
    int8_t* packed_order = codes_.codes() + steps_ * width_ * kStepCodes;
    const uint32_t superblocks = (task_.weight.block.depth + kMatrixDepth - 1) / kMatrixDepth;
    for (int b = 0; b < blocks; ++b) {
      const uint64_t first = (uint64_t{block} + static_cast<uint64_t>(b)) * superblocks;
      unpack_avx512vnni(packed_levels(task_.weight, first), middle_, superblocks, packed_order);
      align_pieces(packed_order, rows.num_pieces, rows.piece_depth, width_ * kStepCodes,
                   codes_.codes() + b * kStepCodes);
    }
  }

  const GemmTask& task_;
  const CellMiddle& middle_;
  const SpacedRows rows_;
  const uint32_t steps_, end_;
  const bool narrow_, on_ring_;
  const uint32_t width_, capacity_;  // of the ring: blocks of a step, and steps
  const Requantizer requantizer_;
  const float* multiplier_;
  const Clamp clamp_;
  const OutputLines lines_;
  CodeRing codes_;
  uint32_t slot_ = 0;  // of the set's first step
  Aside aside_;
  HeldSums held_;
  Finish held_finish_, finish_;  // of the held unit, and of the one before it
  int side_ = 0;
  alignas(kLineBytes) int32_t sums_[2][kAccumulators * kTileSums];
};

inline void run_spaced(const GemmTask& task, const CellMiddle& middle, const Requantization& requantization,
                       int8_t* out, size_t out_stride) {
  SpacedWalk(task, middle, requantization, out, out_stride).run();
}

}  // namespace
}  // namespace nq
