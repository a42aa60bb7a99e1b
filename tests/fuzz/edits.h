// Tables of a model as an adversary edits them, by the bytes of a fuzz target's input.

#ifndef SUB3_TESTS_FUZZ_EDITS_H_
#define SUB3_TESTS_FUZZ_EDITS_H_

#include <memory>
#include <vector>

#include "tests/fuzz/input.h"
#include "tests/kernels/tiny_model.h"

// Tensors and segments that may be edited; data that is overwritten is a copy.
struct EditedTables {
  std::vector<sub3_tensor> tensors;
  std::vector<sub3_segment> segments;
  std::vector<std::unique_ptr<char[]>> copies;
};

inline void EditTensor(Input* input, EditedTables* edited) {
  if (edited->tensors.empty()) return;
  const size_t index = input->Below(256) % edited->tensors.size();
  sub3_tensor& tensor = edited->tensors[index];
  switch (input->Below(9)) {
    case 0:
      tensor.dtype = static_cast<uint32_t>(input->Number());
      break;
    case 1:
      tensor.num_dims = static_cast<uint32_t>(input->Number());
      break;
    case 2:
      tensor.shape[input->Below(3)] = input->Number();
      break;
    case 3:
      tensor.bytes = std::min(tensor.bytes, input->Number());
      break;
    case 4:
      tensor.data = nullptr, tensor.bytes = 0;
      break;
    case 5:
      tensor.name = edited->tensors[input->Below(256) % edited->tensors.size()].name;
      break;
    case 6:
      edited->tensors.erase(edited->tensors.begin() + static_cast<ptrdiff_t>(index));
      break;
    case 7:
      tensor.name = nullptr;
      break;
    default:
      if (tensor.bytes < 8) break;
      edited->copies.push_back(std::make_unique<char[]>(tensor.bytes));
      std::memcpy(edited->copies.back().get(), tensor.data, tensor.bytes);
      {
        const uint64_t word = input->Take<uint64_t>(), place = input->Take<uint16_t>() % (tensor.bytes - 7);
        std::memcpy(edited->copies.back().get() + place, &word, 8);
      }
      tensor.data = edited->copies.back().get();
  }
}

inline void EditSegment(Input* input, EditedTables* edited) {
  if (edited->segments.empty()) return;
  const size_t index = input->Below(256) % edited->segments.size();
  sub3_segment& segment = edited->segments[index];
  switch (input->Below(9)) {
    case 0:
      segment.begin = input->Number();
      break;
    case 1:
      segment.end = input->Number();
      break;
    case 2:
      segment.planes = static_cast<uint32_t>(input->Number());
      break;
    case 3:
      segment.scale_begin = input->Number();
      break;
    case 4:
      segment.group_size = input->Number();
      break;
    case 5:
      edited->segments.push_back(segment);
      break;
    case 6:
      edited->segments.erase(edited->segments.begin() + static_cast<ptrdiff_t>(index));
      break;
    case 7:
      segment.matrix = nullptr;
      break;
    default:
      segment.matrix = edited->segments[input->Below(256) % edited->segments.size()].matrix;
  }
}

#endif  // SUB3_TESTS_FUZZ_EDITS_H_
