// The convolutions of oneDNN that libtorch's own compiler uses, called by name: tch has no way to. See `fused.rs`, which this file belongs to.

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <cstring>
#include <exception>

namespace {

struct Shape {
  int64_t stride, padding[2], dilation, groups;
};

// None where libtorch was built without oneDNN.
std::optional<c10::OperatorHandle> find(const char* name, const char* overload = "") {
  return c10::Dispatcher::singleton().findSchema({name, overload});
}

std::vector<int64_t> pair(int64_t value) {
  return {value, value};
}

std::vector<int64_t> padding_of(const Shape* shape) {
  return {shape->padding[0], shape->padding[1]};
}

// What libtorch's compiler passes for operations without numbers of their own.
c10::IValue no_scalars() {
  return c10::impl::GenericList(c10::OptionalType::create(c10::NumberType::get()));
}

// What went wrong, to be freed; null, and the only result, otherwise.
template <typename Call>
char* guarded(at::Tensor** output, Call call) {
  try {
    *output = call();
    return nullptr;
  } catch (const std::exception& fault) {
    return strdup(fault.what());
  }
}

at::Tensor* run(const c10::OperatorHandle& operation, torch::jit::Stack stack) {
  operation.callBoxed(stack);
  return new at::Tensor(stack.at(0).toTensor());
}

}  // namespace

// The kernel in oneDNN's order; null in its place where there are no such operators.
extern "C" char* finetuned_pack(
    const at::Tensor* kernel, const Shape* shape, const int64_t* input_size, at::Tensor** output) {
  return guarded(output, [&]() -> at::Tensor* {
    const auto operation = find("mkldnn::_reorder_convolution_weight");
    if (!operation || !find("mkldnn::_convolution_pointwise") || !find("mkldnn::_convolution_pointwise_", "binary")) {
      return nullptr;
    }
    torch::jit::Stack stack;
    torch::jit::push(
        stack, *kernel, padding_of(shape), pair(shape->stride), pair(shape->dilation), shape->groups,
        std::vector<int64_t>(input_size, input_size + 4));
    return run(*operation, std::move(stack));
  });
}

// The convolution of `input`, with the activation of this name, or `none`; `bounds` are those of `hardtanh`.
extern "C" char* finetuned_packed_convolution(
    const at::Tensor* input, const at::Tensor* kernel, const at::Tensor* bias, const Shape* shape,
    const char* activation, const double* bounds, at::Tensor** output) {
  return guarded(output, [&] {
    static const auto operation = find("mkldnn::_convolution_pointwise").value();
    const std::string name(activation);
    auto scalars = no_scalars();
    if (name == "hardtanh") {
      auto list = c10::impl::GenericList(c10::OptionalType::create(c10::NumberType::get()));
      list.push_back(bounds[0]);
      list.push_back(bounds[1]);
      scalars = list;
    }
    const auto algorithm = name == "gelu" ? c10::IValue(std::string("none")) : c10::IValue();
    torch::jit::Stack stack;
    torch::jit::push(
        stack, *input, *kernel, *bias, padding_of(shape), pair(shape->stride), pair(shape->dilation), shape->groups,
        name, scalars, algorithm);
    return run(operation, std::move(stack));
  });
}

// `convolution(input) + shortcut`, with ReLU if wanted, written over `shortcut`.
extern "C" char* finetuned_packed_sum(
    const at::Tensor* shortcut, const at::Tensor* input, const at::Tensor* kernel, const at::Tensor* bias,
    const Shape* shape, bool relu, at::Tensor** output) {
  return guarded(output, [&] {
    static const auto operation = find("mkldnn::_convolution_pointwise_", "binary").value();
    const auto unary = relu ? c10::IValue(std::string("relu")) : c10::IValue();
    torch::jit::Stack stack;
    torch::jit::push(
        stack, *shortcut, *input, *kernel, *bias, padding_of(shape), pair(shape->stride), pair(shape->dilation),
        shape->groups, std::string("add"), at::Scalar(1.0), unary, no_scalars(), c10::IValue());
    return run(operation, std::move(stack));
  });
}
