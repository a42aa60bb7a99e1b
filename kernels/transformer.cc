#include "kernels/transformer.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

namespace sub3 {

namespace {

// Of the encoder at a time: bounds the inner activations; each share unpacks the weights once.
constexpr size_t kFfnRows = kByteColumns;

size_t WidestInput(const Config& config) {
  return std::max({config.d_model, config.encoder_ffn_dim, config.decoder_ffn_dim});
}

// Bytes of scratch for any product of n columns.
size_t ScratchBytes(const Config& config, size_t n) {
  const size_t widest = WidestInput(config);
  return std::max(BcqMatmulScratchBytes(widest), BcqByteMatmulScratchBytes(widest, n));
}

void Embed(const Model& model, const Isa& isa, const BcqMatrix& embedding, int32_t token, size_t position, float* out) {
  const size_t d = model.config.d_model;
  isa.dequantize_row(embedding, static_cast<size_t>(token), out);
  for (size_t i = 0; i < d; ++i) out[i] *= model.config.embedding_scale;
  model.positions.Add(position, out);
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

struct Output {
  const Linear* linear;
  float* y;  // [n, rows]
};

// Linear layers of the same input x[n, columns], which is quantised once for each kind of product.
void Apply(const Context& context, std::initializer_list<Output> outputs, const float* x, size_t n, void* scratch) {
  constexpr size_t kMost = 3;
  Product products[kMost], byte_products[kMost];
  size_t count = 0, byte_count = 0, columns = 0;
  for (const Output& output : outputs) {
    const Linear& linear = *output.linear;
    columns = linear.weight.columns;
    (linear.bytes ? byte_products[byte_count++] : products[count++]) =
        Product{&linear.weight, linear.bias, output.y, linear.weight.rows};
  }
  if (count > 0) context.isa->bcq_matmul(products, count, x, columns, columns, n, scratch);
  if (byte_count > 0) context.isa->bcq_byte_matmul(byte_products, byte_count, x, columns, columns, n, scratch);
}

void FeedForwardBlock(const Model& model, const Context& context, const FeedForward& ffn, const float* x, size_t n,
                      float* inner, float* y, void* scratch) {
  Apply(context, {{&ffn.inner, inner}}, x, n, scratch);
  context.isa->float_ops->activate(model.config.activation, inner, n * ffn.inner.weight.rows);
  Apply(context, {{&ffn.outer, y}}, inner, n, scratch);
}

float AttentionScale(size_t d_model, size_t heads) { return 1.0f / std::sqrt(static_cast<float>(d_model / heads)); }

// Where slot `slot` of a sentence has its keys (part 0) or values (part 1) of layer l.
float* Slot(const DecoderState& sentence, size_t l, size_t part, size_t slot, size_t d) {
  constexpr size_t kSlots = DecoderState::kSlotsPerPage;
  return sentence.pages[slot / kSlots] + ((2 * l + part) * kSlots + slot % kSlots) * d;
}

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
  float* attention_scratch = workspace.Allocate<float>(AttendAllScratch(longest, d / heads));
  void* scratch = workspace.Allocate<char>(ScratchBytes(config, n));

  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (size_t t = offsets[s]; t < offsets[s + 1]; ++t) {
      Embed(model, *context.isa, model.source_embedding, tokens[t], t - offsets[s], x + t * d);
    }
  }
  for (const EncoderLayer& layer : model.encoder) {
    context.ThrowIfCancelled();
    const Attention& attention = layer.self_attention;
    Residual(model, ops, attention.norm, n, x, normed, delta, [&](const float* input, float* out) {
      Apply(context, {{&attention.query, q}, {&attention.key, k}, {&attention.value, v}}, input, n, scratch);
      for (size_t s = 0; s + 1 < offsets.size(); ++s) {
        const size_t first = offsets[s] * d;
        ops.attend_all(q + first, k + first, v + first, offsets[s + 1] - offsets[s], heads, d / heads,
                       AttentionScale(d, heads), attention_scratch, attended + first);
      }
      Apply(context, {{&attention.output, out}}, attended, n, scratch);
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

DecoderState::DecoderState(size_t source_length, size_t max_rows, size_t max_length, uint32_t alignment_layer)
    : source_length(source_length), max_rows(max_rows), max_length(max_length), alignment_layer(alignment_layer) {
  history = workspace.Allocate<uint32_t>(max_rows * max_length);
  previous_history = workspace.Allocate<uint32_t>(max_rows * max_length);
}

void Decoder::Join(const Encoded& encoded, const std::vector<DecoderState*>& sentences, uint64_t* peak_bytes) const {
  const size_t d = model_.config.d_model, n = encoded.tokens();
  Workspace workspace;
  float* keys = workspace.Allocate<float>(n * d);
  float* values = workspace.Allocate<float>(n * d);
  void* scratch = workspace.Allocate<char>(ScratchBytes(model_.config, n));
  for (const DecoderLayer& layer : model_.decoder) {
    context_.ThrowIfCancelled();
    Apply(context_, {{&layer.encoder_attention.key, keys}, {&layer.encoder_attention.value, values}}, encoded.states, n,
          scratch);
    for (size_t s = 0; s < sentences.size(); ++s) {
      DecoderState& sentence = *sentences[s];
      const size_t first = encoded.offsets[s] * d, size = sentence.source_length * d;
      sentence.encoder_keys.push_back(sentence.kv_cache.Allocate<float>(size));
      sentence.encoder_values.push_back(sentence.kv_cache.Allocate<float>(size));
      std::copy_n(keys + first, size, sentence.encoder_keys.back());
      std::copy_n(values + first, size, sentence.encoder_values.back());
    }
  }
  *peak_bytes += workspace.bytes();
}

void Decoder::Reserve(size_t max_rows, size_t longest) {
  const bool fits = max_rows <= max_rows_ && longest <= longest_;
  const bool spare = 2 * max_rows < max_rows_ || 2 * longest < longest_;
  if (fits && !spare) return;
  workspace_ = Workspace();
  max_rows_ = max_rows, longest_ = longest;
  if (max_rows == 0) return;
  const Config& config = model_.config;
  for (float** array : {&x_, &normed_, &q_, &k_, &v_, &attended_, &projected_}) {
    *array = workspace_.Allocate<float>(max_rows * config.d_model);
  }
  inner_ = workspace_.Allocate<float>(max_rows * config.decoder_ffn_dim);
  scores_ = workspace_.Allocate<float>(AttendScratch(longest));
  keys_ = workspace_.Allocate<const float*>(longest);
  values_ = workspace_.Allocate<const float*>(longest);
  scratch_ = workspace_.Allocate<char>(ScratchBytes(config, 0));
}

// Gives each row a slot and its history, and each sentence one position more.
void Decoder::Advance(const std::vector<StepRow>& rows) {
  const size_t page_floats = model_.decoder.size() * 2 * DecoderState::kSlotsPerPage * model_.config.d_model;
  histories_.clear();
  for (size_t r = 0, of_sentence = 0; r < rows.size(); ++r, ++of_sentence) {
    DecoderState& sentence = *rows[r].sentence;
    if (r == 0 || rows[r - 1].sentence != &sentence) {
      of_sentence = 0;
      std::swap(sentence.history, sentence.previous_history);
      ++sentence.length;
    }
    if (sentence.num_slots == sentence.pages.size() * DecoderState::kSlotsPerPage) {
      sentence.pages.push_back(sentence.kv_cache.Allocate<float>(page_floats));
      if (sentence.alignment_layer > 0) {
        const size_t floats = DecoderState::kSlotsPerPage * sentence.source_length;
        sentence.alignments.push_back(sentence.kv_cache.Allocate<float>(floats));
      }
    }
    uint32_t* history = sentence.history + of_sentence * sentence.max_length;
    std::copy_n(sentence.previous_history + rows[r].parent * sentence.max_length, sentence.length - 1, history);
    history[sentence.length - 1] = static_cast<uint32_t>(sentence.num_slots++);
    histories_.push_back(history);
  }
}

void Decoder::SelfAttention(const DecoderLayer& layer, size_t l, const std::vector<StepRow>& rows) {
  const size_t d = model_.config.d_model, heads = model_.config.decoder_heads, n = rows.size();
  const FloatOps& ops = *context_.isa->float_ops;
  const Attention& attention = layer.self_attention;
  Residual(model_, ops, attention.norm, n, x_, normed_, projected_, [&](const float* input, float* out) {
    Apply(context_, {{&attention.query, q_}, {&attention.key, k_}, {&attention.value, v_}}, input, n, scratch_);
    for (size_t r = 0; r < n; ++r) {
      const DecoderState& sentence = *rows[r].sentence;
      const size_t length = sentence.length, own = histories_[r][length - 1];
      std::copy_n(k_ + r * d, d, Slot(sentence, l, 0, own, d));
      std::copy_n(v_ + r * d, d, Slot(sentence, l, 1, own, d));
      for (size_t t = 0; t < length; ++t) {
        keys_[t] = Slot(sentence, l, 0, histories_[r][t], d);
        values_[t] = Slot(sentence, l, 1, histories_[r][t], d);
      }
      ops.attend(q_ + r * d, keys_, values_, length, heads, d / heads, AttentionScale(d, heads), scores_,
                 attended_ + r * d);
    }
    Apply(context_, {{&attention.output, out}}, attended_, n, scratch_);
  });
}

// The attention of a row to the source head by head, and the mean of the heads' weights: [source_length].
void Decoder::AttendAligned(const DecoderState& sentence, size_t l, size_t row, float* weights) {
  const size_t d = model_.config.d_model, heads = model_.config.decoder_heads, head_dim = d / heads;
  std::fill_n(weights, sentence.source_length, 0.0f);
  for (size_t first = 0; first < d; first += head_dim) {
    for (size_t t = 0; t < sentence.source_length; ++t) {
      keys_[t] = sentence.encoder_keys[l] + t * d + first;
      values_[t] = sentence.encoder_values[l] + t * d + first;
    }
    context_.isa->float_ops->attend(q_ + row * d + first, keys_, values_, sentence.source_length, 1, head_dim,
                                    AttentionScale(d, heads), scores_, attended_ + row * d + first);
    for (size_t t = 0; t < sentence.source_length; ++t) weights[t] += scores_[t] / static_cast<float>(heads);
  }
}

void Decoder::EncoderAttention(const DecoderLayer& layer, size_t l, const std::vector<StepRow>& rows) {
  const size_t d = model_.config.d_model, heads = model_.config.decoder_heads;
  const FloatOps& ops = *context_.isa->float_ops;
  const Attention& attention = layer.encoder_attention;
  Residual(model_, ops, attention.norm, rows.size(), x_, normed_, projected_, [&](const float* input, float* out) {
    Apply(context_, {{&attention.query, q_}}, input, rows.size(), scratch_);
    for (size_t r = 0; r < rows.size(); ++r) {
      const DecoderState& sentence = *rows[r].sentence;
      if (sentence.alignment_layer == l + 1) {
        AttendAligned(sentence, l, r, sentence.alignment(histories_[r][sentence.length - 1]));
        continue;
      }
      for (size_t t = 0; t < sentence.source_length; ++t) {
        keys_[t] = sentence.encoder_keys[l] + t * d;
        values_[t] = sentence.encoder_values[l] + t * d;
      }
      ops.attend(q_ + r * d, keys_, values_, sentence.source_length, heads, d / heads, AttentionScale(d, heads),
                 scores_, attended_ + r * d);
    }
    Apply(context_, {{&attention.output, out}}, attended_, rows.size(), scratch_);
  });
}

void Decoder::Step(const std::vector<StepRow>& rows, float* logits) {
  context_.ThrowIfCancelled();
  const Config& config = model_.config;
  const FloatOps& ops = *context_.isa->float_ops;
  const size_t d = config.d_model, n = rows.size();

  Advance(rows);
  for (size_t r = 0; r < n; ++r) {
    Embed(model_, *context_.isa, model_.target_embedding, rows[r].token, rows[r].sentence->length - 1, x_ + r * d);
  }
  for (size_t l = 0; l < model_.decoder.size(); ++l) {
    const DecoderLayer& layer = model_.decoder[l];
    SelfAttention(layer, l, rows);
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
  Apply(context_, {{&model_.output, logits}}, x_, n, scratch_);
}

}  // namespace sub3
