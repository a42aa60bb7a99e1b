#include "kernels/transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace sub3 {

namespace {

constexpr size_t kFfnRows = 64;  // of the encoder at a time: bounds the inner activations to 64 * ffn_dim floats

size_t WidestInput(const Config& config) {
  return std::max({config.d_model, config.encoder_ffn_dim, config.decoder_ffn_dim});
}

void Embed(const Model& model, const BcqMatrix& embedding, int32_t token, size_t position, float* out) {
  const size_t d = model.config.d_model;
  DequantizeRow(embedding, static_cast<size_t>(token), out);
  const float* positions = model.positions.data() + position * d;
  for (size_t i = 0; i < d; ++i) out[i] = out[i] * model.config.embedding_scale + positions[i];
}

// One residual block around `body`, in either order of normalisation:
// post-norm x = norm(x + body(x)), pre-norm x = x + body(norm(x)). `delta` receives body's output.
template <typename Body>
void Residual(const Model& model, const FloatOps& ops, const LayerNorm& norm, size_t n, float* x, float* normed,
              float* delta, Body body) {
  const size_t d = model.config.d_model;
  const auto normalize = [&](float* from, float* to) {
    for (size_t i = 0; i < n; ++i) {
      ops.layer_norm(from + i * d, norm.gain, norm.bias, model.config.norm_epsilon, d, to + i * d);
    }
  };
  if (model.config.pre_norm) {
    normalize(x, normed);
    body(normed, delta);
    ops.add(x, delta, n * d);
  } else {
    body(x, delta);
    ops.add(x, delta, n * d);
    normalize(x, x);
  }
}

// y[n, rows] of one linear layer.
void Apply(const Context& context, const Linear& linear, const float* x, size_t n, float* y, void* scratch) {
  const BcqMatrix& weight = linear.weight;
  const Product product{&weight, linear.bias, y, weight.rows};
  context.isa->bcq_matmul(&product, 1, x, weight.columns, weight.columns, n, scratch);
}

void FeedForwardBlock(const Model& model, const Context& context, const FeedForward& ffn, const float* x, size_t n,
                      float* inner, float* y, void* scratch) {
  Apply(context, ffn.inner, x, n, inner, scratch);
  context.isa->float_ops->activate(model.config.activation, inner, n * ffn.inner.weight.rows);
  Apply(context, ffn.outer, inner, n, y, scratch);
}

void QueryKeyValue(const Context& context, const Attention& attention, const float* x, size_t n, size_t d, float* q,
                   float* k, float* v, void* scratch) {
  const Product products[] = {{&attention.query.weight, attention.query.bias, q, d},
                              {&attention.key.weight, attention.key.bias, k, d},
                              {&attention.value.weight, attention.value.bias, v, d}};
  context.isa->bcq_matmul(products, 3, x, d, d, n, scratch);
}

float AttentionScale(size_t d_model, size_t heads) { return 1.0f / std::sqrt(static_cast<float>(d_model / heads)); }

}  // namespace

Encoded Encode(const Model& model, const Context& context, const int32_t* tokens, std::vector<size_t> offsets,
               Workspace* states, uint64_t* peak_bytes) {
  const Config& config = model.config;
  const FloatOps& ops = *context.isa->float_ops;
  const size_t d = config.d_model, n = offsets.back(), heads = config.encoder_heads;
  size_t longest = 0;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) longest = std::max(longest, offsets[s + 1] - offsets[s]);

  Workspace workspace;
  float* x = states->Allocate<float>(n * d);
  float* normed = workspace.Allocate<float>(n * d);
  float* q = workspace.Allocate<float>(n * d);
  float* k = workspace.Allocate<float>(n * d);
  float* v = workspace.Allocate<float>(n * d);
  float* attended = workspace.Allocate<float>(n * d);
  float* delta = k;  // free again once the attention is done
  float* inner = workspace.Allocate<float>(std::min(n, kFfnRows) * config.encoder_ffn_dim);
  float* scores = workspace.Allocate<float>(heads * longest);
  const float** keys = workspace.Allocate<const float*>(longest);
  const float** values = workspace.Allocate<const float*>(longest);
  void* scratch = workspace.Allocate<char>(BcqMatmulScratchBytes(WidestInput(config)));

  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (size_t t = offsets[s]; t < offsets[s + 1]; ++t) {
      Embed(model, model.source_embedding, tokens[t], t - offsets[s], x + t * d);
    }
  }
  for (const EncoderLayer& layer : model.encoder) {
    context.ThrowIfCancelled();
    const Attention& attention = layer.self_attention;
    Residual(model, ops, attention.norm, n, x, normed, delta, [&](const float* input, float* out) {
      QueryKeyValue(context, attention, input, n, d, q, k, v, scratch);
      for (size_t s = 0; s + 1 < offsets.size(); ++s) {
        const size_t first = offsets[s], length = offsets[s + 1] - first;
        for (size_t t = 0; t < length; ++t) keys[t] = k + (first + t) * d, values[t] = v + (first + t) * d;
        for (size_t t = first; t < first + length; ++t) {
          ops.attend(q + t * d, keys, values, length, heads, d / heads, AttentionScale(d, heads), scores,
                     attended + t * d);
        }
      }
      Apply(context, attention.output, attended, n, out, scratch);
    });
    Residual(model, ops, layer.ffn.norm, n, x, normed, delta, [&](const float* input, float* out) {
      for (size_t i = 0; i < n; i += kFfnRows) {
        FeedForwardBlock(model, context, layer.ffn, input + i * d, std::min(kFfnRows, n - i), inner, out + i * d,
                         scratch);
      }
    });
  }
  if (config.pre_norm) {
    for (size_t i = 0; i < n; ++i) {
      ops.layer_norm(x + i * d, model.encoder_norm.gain, model.encoder_norm.bias, config.norm_epsilon, d, x + i * d);
    }
  }
  *peak_bytes = std::max(*peak_bytes, workspace.bytes() + states->bytes());
  return {x, std::move(offsets)};
}

Decoder::Decoder(const Model& model, const Context& context, const Encoded& encoded, size_t max_rows, size_t max_length)
    : model_(model), context_(context), encoded_(encoded), max_rows_(max_rows), max_length_(max_length) {
  const Config& config = model.config;
  const size_t d = config.d_model;
  slots_per_page_ = std::max<size_t>(max_rows, 16);
  size_t longest = max_length;
  for (size_t s = 0; s + 1 < encoded.offsets.size(); ++s) longest = std::max(longest, encoded.length(s));
  history_ = workspace_.Allocate<uint32_t>(max_rows * max_length);
  previous_history_ = workspace_.Allocate<uint32_t>(max_rows * max_length);
  x_ = workspace_.Allocate<float>(max_rows * d);
  normed_ = workspace_.Allocate<float>(max_rows * d);
  q_ = workspace_.Allocate<float>(max_rows * d);
  attended_ = workspace_.Allocate<float>(max_rows * d);
  projected_ = workspace_.Allocate<float>(max_rows * d);
  inner_ = workspace_.Allocate<float>(max_rows * config.decoder_ffn_dim);
  scores_ = workspace_.Allocate<float>(config.decoder_heads * longest);
  keys_ = workspace_.Allocate<const float*>(longest);
  values_ = workspace_.Allocate<const float*>(longest);
  scratch_ = workspace_.Allocate<char>(BcqMatmulScratchBytes(WidestInput(config)));
  lengths_.reserve(max_rows);
  previous_lengths_.reserve(max_rows);

  // The encoder's side of the attention is the same at every step: computed once.
  for (const DecoderLayer& layer : model.decoder) {
    context.ThrowIfCancelled();
    float* keys = kv_cache_.Allocate<float>(encoded.tokens() * d);
    float* values = kv_cache_.Allocate<float>(encoded.tokens() * d);
    const Attention& attention = layer.encoder_attention;
    const Product products[] = {{&attention.key.weight, attention.key.bias, keys, d},
                                {&attention.value.weight, attention.value.bias, values, d}};
    context.isa->bcq_matmul(products, 2, encoded.states, d, d, encoded.tokens(), scratch_);
    encoder_keys_.push_back(keys);
    encoder_values_.push_back(values);
  }
}

float* Decoder::Slot(size_t l, Part part, size_t slot) const {
  const size_t row = (2 * l + part) * slots_per_page_ + slot % slots_per_page_;
  return pages_[slot / slots_per_page_] + row * model_.config.d_model;
}

// n neighbouring slots on one page, so that a product writes all rows' keys at once.
void Decoder::ReserveSlots(size_t n) {
  if (next_slot_ % slots_per_page_ + n > slots_per_page_ || next_slot_ == pages_.size() * slots_per_page_) {
    next_slot_ = pages_.size() * slots_per_page_;
    pages_.push_back(kv_cache_.Allocate<float>(model_.decoder.size() * 2 * slots_per_page_ * model_.config.d_model));
  }
  first_slot_ = next_slot_;
  next_slot_ += n;
}

void Decoder::SelfAttention(const DecoderLayer& layer, size_t l, size_t n) {
  const size_t d = model_.config.d_model, heads = model_.config.decoder_heads;
  const FloatOps& ops = *context_.isa->float_ops;
  const Attention& attention = layer.self_attention;
  Residual(model_, ops, attention.norm, n, x_, normed_, projected_, [&](const float* input, float* out) {
    QueryKeyValue(context_, attention, input, n, d, q_, Slot(l, kKey, first_slot_), Slot(l, kValue, first_slot_),
                  scratch_);
    for (size_t r = 0; r < n; ++r) {
      for (size_t t = 0; t < lengths_[r]; ++t) {
        const uint32_t slot = history_[r * max_length_ + t];
        keys_[t] = Slot(l, kKey, slot);
        values_[t] = Slot(l, kValue, slot);
      }
      ops.attend(q_ + r * d, keys_, values_, lengths_[r], heads, d / heads, AttentionScale(d, heads), scores_,
                 attended_ + r * d);
    }
    Apply(context_, attention.output, attended_, n, out, scratch_);
  });
}

void Decoder::EncoderAttention(const DecoderLayer& layer, size_t l, const std::vector<StepRow>& rows) {
  const size_t d = model_.config.d_model, heads = model_.config.decoder_heads;
  const FloatOps& ops = *context_.isa->float_ops;
  const Attention& attention = layer.encoder_attention;
  Residual(model_, ops, attention.norm, rows.size(), x_, normed_, projected_, [&](const float* input, float* out) {
    Apply(context_, attention.query, input, rows.size(), q_, scratch_);
    for (size_t r = 0; r < rows.size(); ++r) {
      const size_t first = encoded_.offsets[rows[r].sentence], length = encoded_.length(rows[r].sentence);
      for (size_t t = 0; t < length; ++t) {
        keys_[t] = encoder_keys_[l] + (first + t) * d;
        values_[t] = encoder_values_[l] + (first + t) * d;
      }
      ops.attend(q_ + r * d, keys_, values_, length, heads, d / heads, AttentionScale(d, heads), scores_,
                 attended_ + r * d);
    }
    Apply(context_, attention.output, attended_, rows.size(), out, scratch_);
  });
}

void Decoder::Step(const std::vector<StepRow>& rows, float* logits) {
  context_.ThrowIfCancelled();
  const Config& config = model_.config;
  const FloatOps& ops = *context_.isa->float_ops;
  const size_t d = config.d_model, n = rows.size();

  ReserveSlots(n);
  std::swap(history_, previous_history_);
  std::swap(lengths_, previous_lengths_);
  lengths_.clear();
  for (size_t r = 0; r < n; ++r) {
    const size_t length = rows[r].parent < 0 ? 0 : previous_lengths_[rows[r].parent];
    if (length > 0) {
      std::memcpy(history_ + r * max_length_, previous_history_ + rows[r].parent * max_length_,
                  length * sizeof(uint32_t));
    }
    history_[r * max_length_ + length] = static_cast<uint32_t>(first_slot_ + r);
    lengths_.push_back(static_cast<uint32_t>(length + 1));
    Embed(model_, model_.target_embedding, rows[r].token, length, x_ + r * d);
  }

  for (size_t l = 0; l < model_.decoder.size(); ++l) {
    const DecoderLayer& layer = model_.decoder[l];
    SelfAttention(layer, l, n);
    EncoderAttention(layer, l, rows);
    Residual(model_, ops, layer.ffn.norm, n, x_, normed_, projected_, [&](const float* input, float* out) {
      FeedForwardBlock(model_, context_, layer.ffn, input, n, inner_, out, scratch_);
    });
  }
  if (config.pre_norm) {
    for (size_t r = 0; r < n; ++r) {
      ops.layer_norm(x_ + r * d, model_.decoder_norm.gain, model_.decoder_norm.bias, config.norm_epsilon, d,
                     x_ + r * d);
    }
  }
  Apply(context_, model_.output, x_, n, logits, scratch_);
}

}  // namespace sub3
