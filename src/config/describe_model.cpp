// Rows of [model] and [encoder]: the network that is trained and the frozen ones around it.
#include "config/section.h"

namespace flux::config {
namespace {

void describe_dimensions(Section<Model>& s) {
    s.row(&Model::hidden_size, "hidden_size",
          {.help = "Width of the residual streams", .unit = "channels", .range = at_least(1, 1e6)});
    s.row(&Model::num_heads, "num_heads",
          {.help = "Attention heads; hidden_size / num_heads must be the sum of axes_dim",
           .range = at_least(1, 1e5)});
    s.row(&Model::depth, "depth",
          {.help = "Double-stream blocks (image and text apart)", .range = at_least(1, 1e4)});
    s.row(&Model::depth_single_blocks, "depth_single_blocks",
          {.help = "Single-stream blocks (image and text together)", .range = at_least(1, 1e4)});
    s.row(&Model::axes_dim, "axes_dim",
          {.help = "Rotary channels of one head for the three position axes, all even: 16,56,56",
           .range = at_least(2, 1e5),
           .length = 3});
    s.row(&Model::mlp_ratio, "mlp_ratio",
          {.help = "Width of the blocks' MLPs as a multiple of hidden_size", .range = above(0)});
    s.row(
        &Model::vec_in_dim, "vec_in_dim",
        {.help = "Width of the pooled text vector", .unit = "channels", .range = at_least(1, 1e6)});
    s.row(&Model::theta, "theta",
          {.help = "Base of the rotary frequencies", .range = at_least(1, 1e9)});
    s.row(&Model::qkv_bias, "qkv_bias", {.help = "Bias on the query, key and value projections"});
    s.row(&Model::guidance_embed, "guidance_embed",
          {.help = "Feed the guidance strength to the model, as in the published dev weights"});
    s.row(&Model::qk_norm_eps, "qk_norm_eps",
          {.help = "Epsilon of the query and key norms: torchtitan trains with this default, the "
                   "published inference code has 1e-6",
           .range = above(0)});
}

void describe_model_section(std::vector<Option>& table) {
    Section<Model> s("model", &JobConfig::model);
    s.row(&Model::name, "name", {.help = "Kind of model", .required = true, .one_of = {"flux"}});
    s.row(&Model::flavor, "flavor",
          {.help = "Preset of dimensions; the options below replace single ones",
           .required = true,
           .one_of = {"flux-schnell", "flux-dev", "flux-debug", "flux-tiny"}});
    describe_dimensions(s);
    s.row(&Model::converters, "converters",
          {.help = "`float8` computes the blocks' linear layers in 8-bit floating point (FP8), as "
                   "[float8] says",
           .status = not_built(
               "conversion to anything but float8",
               {Value(std::vector<std::string>{}), Value(std::vector<std::string>{"float8"})})});
    s.row(&Model::print_after_conversion, "print_after_conversion",
          {.help = "Print the model after its conversion",
           .status = no_meaning("there is no module tree that a conversion could change")});
    s.row(&Model::tokenizer_path, "tokenizer_path",
          {.help = "Tokenizer of a language model",
           .status = no_meaning("the text encoders bring their own tokenizers")});
    s.append_to(table);
}

void describe_encoder(std::vector<Option>& table) {
    Section<Encoder> s("encoder", &JobConfig::encoder);
    s.row(&Encoder::t5_encoder, "t5_encoder",
          {.help = "T5 v1.1 encoder: a folder, a safetensors file or a Hugging Face name in the "
                   "local cache; `words` is built in and needs no download; empty when the data "
                   "set holds encodings"});
    s.row(&Encoder::clip_encoder, "clip_encoder",
          {.help = "CLIP text encoder: a folder, a safetensors file or a Hugging Face name in the "
                   "local cache; `words` is built in and needs no download; empty when the data "
                   "set holds encodings"});
    s.row(&Encoder::autoencoder_path, "autoencoder_path",
          {.help = "Autoencoder: a safetensors file, a folder or a Hugging Face name in the local "
                   "cache; `dct` is built in and needs no download; empty when the data set holds "
                   "encodings (then shift and scale are needed)"});
    s.row(&Encoder::t5_tokenizer, "t5_tokenizer",
          {.help = "Folder of the T5 tokenizer; empty: beside the encoder's weights"});
    s.row(&Encoder::clip_tokenizer, "clip_tokenizer",
          {.help = "Folder of the CLIP tokenizer; empty: beside the encoder's weights"});
    s.row(&Encoder::dtype, "dtype",
          {.help = "Type the pretrained encoders compute in; auto is bfloat16 on a GPU, float32 on "
                   "a CPU"});
    s.row(&Encoder::offload, "offload",
          {.help = "Keep the pretrained encoders' weights in host memory and bring them to the GPU "
                   "a layer at a time: less GPU memory, slower encoding"});
    s.row(
        &Encoder::autoencoder_shift, "autoencoder_shift",
        {.help = "Subtracted from latents; unset: the autoencoder's own (Flux: 0.1159, `dct`: 0)"});
    s.row(&Encoder::autoencoder_scale, "autoencoder_scale",
          {.help = "Latents are multiplied by it after the shift; unset: the autoencoder's own "
                   "(Flux: 0.3611, `dct`: 1)",
           .range = above(0)});
    s.row(&Encoder::max_t5_encoding_len, "max_t5_encoding_len",
          {.help = "Length to which captions are padded or cut for T5",
           .unit = "tokens",
           .range = at_least(1, 1e5)});
    s.row(&Encoder::context_in_dim, "context_in_dim",
          {.help = "Width of the T5 encodings fed to the model; unset: the flavor's (4096, that of "
                   "T5-XXL, for the published sizes)",
           .unit = "channels",
           .range = at_least(1, 1e6)});
    s.row(&Encoder::empty_encodings_path, "empty_encodings_path",
          {.help = "Folder with t5_empty.npy and clip_empty.npy, which dropped captions turn into; "
                   "empty: the empty caption is encoded at the start"});
    s.append_to(table);
}

}  // namespace

void describe_model(std::vector<Option>& table) {
    describe_model_section(table);
    describe_encoder(table);
}

}  // namespace flux::config
