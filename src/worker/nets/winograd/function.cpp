// A convolution as a function that libtorch can take gradients of, whose values and gradients are computed elsewhere: tch has no way to
// make such a function. See `training.rs`, which this file belongs to.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstring>
#include <exception>

namespace {

struct Sizes {
  int64_t count, height, width, from, to;
};

// Each takes two dense tensors and fills in a third. Activations are [count, height, width, channels], kernels [to, 3, 3, from].
struct Computations {
  // Of input and kernel: the output.
  void (*output)(const Sizes*, const float*, const float*, float*);
  // Of the output's gradient and the kernel: the input's gradient.
  void (*input_gradient)(const Sizes*, const float*, const float*, float*);
  // Of input and the output's gradient: the kernel's gradient.
  void (*kernel_gradient)(const Sizes*, const float*, const float*, float*);
};

at::Tensor dense(const at::Tensor& tensor) {
  return tensor.contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor empty(at::IntArrayRef sizes, const at::Tensor& like) {
  return at::empty(sizes, like.options().memory_format(at::MemoryFormat::ChannelsLast));
}

Sizes sizes_of(const at::Tensor& input, const at::Tensor& kernel) {
  return {input.size(0), input.size(2), input.size(3), input.size(1), kernel.size(0)};
}

struct Convolution : torch::autograd::Function<Convolution> {
  static at::Tensor forward(
      torch::autograd::AutogradContext* context,
      const at::Tensor& input,
      const at::Tensor& kernel,
      const Computations* computations) {
    const auto from = dense(input), by = dense(kernel);
    context->save_for_backward({from, by});
    context->saved_data["computations"] = reinterpret_cast<int64_t>(computations);
    const auto sizes = sizes_of(from, by);
    auto output = empty({sizes.count, sizes.to, sizes.height, sizes.width}, from);
    computations->output(
        &sizes, from.const_data_ptr<float>(), by.const_data_ptr<float>(), output.mutable_data_ptr<float>());
    return output;
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &input = saved[0], &kernel = saved[1];
    const auto computations =
        reinterpret_cast<const Computations*>(context->saved_data["computations"].toInt());
    const auto sizes = sizes_of(input, kernel);
    const auto gradient = dense(gradients[0]);
    at::Tensor of_input, of_kernel;
    if (context->needs_input_grad(0)) {
      of_input = empty(input.sizes(), input);
      computations->input_gradient(
          &sizes, gradient.const_data_ptr<float>(), kernel.const_data_ptr<float>(), of_input.mutable_data_ptr<float>());
    }
    if (context->needs_input_grad(1)) {
      of_kernel = empty(kernel.sizes(), kernel);
      computations->kernel_gradient(
          &sizes, input.const_data_ptr<float>(), gradient.const_data_ptr<float>(), of_kernel.mutable_data_ptr<float>());
    }
    return {of_input, of_kernel, at::Tensor()};
  }
};

}  // namespace

// Null, and the output in its place; otherwise what went wrong, to be freed. `computations` must live as long as the process.
extern "C" char* finetuned_convolution(
    const at::Tensor* input, const at::Tensor* kernel, const Computations* computations, at::Tensor** output) {
  try {
    *output = new at::Tensor(Convolution::apply(*input, *kernel, computations));
    return nullptr;
  } catch (const std::exception& fault) {
    return strdup(fault.what());
  }
}
