// libFuzzer target: models from tables that an adversary has edited. sub3_model_create refuses them or makes a model
// that computes. What the caller promises holds: pointers are valid for the bytes that are stated.

#include "tests/fuzz/edits.h"

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

// The tables of a model and its configuration.
struct Edited : EditedTables {
  explicit Edited(const Tables& original)
      : EditedTables{original.tensors, original.segments, {}}, config(original.config) {
    suppressed[0] = original.suppressed[0];
    config.suppressed = suppressed;
  }

  sub3_config config;
  int32_t suppressed[4] = {};
};

void EditConfig(Input* input, Edited* edited) {
  sub3_config& c = edited->config;
  uint32_t* const fields[] = {&c.d_model,         &c.source_vocab_size, &c.target_vocab_size, &c.encoder_layers,
                              &c.encoder_heads,   &c.encoder_ffn_dim,   &c.decoder_layers,    &c.decoder_heads,
                              &c.decoder_ffn_dim, &c.activation,        &c.pre_norm,          &c.scale_embedding,
                              &c.max_positions,   &c.shared_vocabulary, &c.tied_output,       &c.ssru,
                              &c.positions};
  const uint64_t which = input->Below(22);
  if (which < 17) {
    *fields[which] = static_cast<uint32_t>(input->Number());
  } else if (which == 17) {
    c.norm_epsilon = input->Take<float>();
  } else if (which == 18) {
    c.eos = static_cast<int32_t>(input->Number());
  } else if (which == 19) {
    c.decoder_start = static_cast<int32_t>(input->Number());
  } else {
    c.num_suppressed = input->Below(5);
    for (int32_t& id : edited->suppressed) id = static_cast<int32_t>(input->Number());
    if (which == 20 && c.num_suppressed == 0) c.suppressed = nullptr;
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
