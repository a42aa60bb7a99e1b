// libFuzzer target: models from tables that an adversary has edited. sub3_model_create refuses them or makes a model
// that computes. What the caller promises holds: pointers are valid for the bytes that are stated.

#include <memory>

#include "tests/fuzz/input.h"
#include "tests/kernels/tiny_model.h"

namespace {

const Tables& Original(bool pre_norm) {
  static const Tables* post = [] {
    auto* tables = new Tables(SUB3_SWISH, false);
    tables->AddShortlist();
    return tables;
  }();
  static const Tables* pre = new Tables(SUB3_GELU, true, /*ssru=*/true);
  return pre_norm ? *pre : *post;
}

// The tables of a model with edits; data that is overwritten is a copy.
struct Edited {
  explicit Edited(const Tables& original)
      : config(original.config), tensors(original.tensors), segments(original.segments) {
    suppressed[0] = original.suppressed[0];
    config.suppressed = suppressed;
  }

  sub3_config config;
  int32_t suppressed[4] = {};
  std::vector<sub3_tensor> tensors;
  std::vector<sub3_segment> segments;
  std::vector<std::unique_ptr<char[]>> copies;
};

void EditConfig(Input* input, Edited* edited) {
  sub3_config& c = edited->config;
  uint32_t* const fields[] = {&c.d_model,         &c.source_vocab_size, &c.target_vocab_size, &c.encoder_layers,
                              &c.encoder_heads,   &c.encoder_ffn_dim,   &c.decoder_layers,    &c.decoder_heads,
                              &c.decoder_ffn_dim, &c.activation,        &c.pre_norm,          &c.scale_embedding,
                              &c.max_positions,   &c.shared_vocabulary, &c.tied_output,       &c.ssru};
  const uint64_t which = input->Below(21);
  if (which < 16) {
    *fields[which] = static_cast<uint32_t>(input->Number());
  } else if (which == 16) {
    c.norm_epsilon = input->Take<float>();
  } else if (which == 17) {
    c.eos = static_cast<int32_t>(input->Number());
  } else if (which == 18) {
    c.decoder_start = static_cast<int32_t>(input->Number());
  } else {
    c.num_suppressed = input->Below(5);
    for (int32_t& id : edited->suppressed) id = static_cast<int32_t>(input->Number());
    if (which == 20 && c.num_suppressed == 0) c.suppressed = nullptr;
  }
}

void EditTensor(Input* input, Edited* edited) {
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

void EditSegment(Input* input, Edited* edited) {
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

// Computes with every weight.
void Use(const sub3_model* model, const sub3_config& config) {
  const int32_t source[] = {5, config.eos};
  std::vector<float> logits(config.target_vocab_size);
  sub3_logits(model, source, 2, &config.decoder_start, 1, logits.data(), logits.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  Edited edited(Original(input.Below(2) == 1));
  const bool computes = input.Below(4) == 0;  // which takes four times as long
  while (!input.empty() && edited.segments.size() < 1000) {
    switch (input.Below(3)) {
      case 0:
        EditConfig(&input, &edited);
        break;
      case 1:
        EditTensor(&input, &edited);
        break;
      default:
        EditSegment(&input, &edited);
    }
  }
  // thousands of positions, which are sines, would take all of the time
  uint32_t& positions = edited.config.max_positions;
  if (positions > 256 && positions < 65537) positions %= 256;
  sub3_model* model = nullptr;
  const int32_t status = sub3_model_create(&edited.config, edited.tensors.data(), edited.tensors.size(),
                                           edited.segments.data(), edited.segments.size(), &model);
  if (status != SUB3_OK) return status == SUB3_INTERNAL ? (std::abort(), 0) : 0;
  if (computes) Use(model, edited.config);
  sub3_model_destroy(model);
  return 0;
}
