// Operators of libtorch that work on many tensors in a few kernels; tch has no calls for most of them. See `together.rs`, which this file
// belongs to. Each returns what went wrong, to be freed, or null.

#include <ATen/ATen.h>

#include <cstring>
#include <exception>
#include <vector>

namespace {

using Tensors = const at::Tensor* const*;

// Copies of the handles: they share the tensors' memory.
std::vector<at::Tensor> list(Tensors tensors, size_t count) {
  std::vector<at::Tensor> all;
  all.reserve(count);
  for (size_t index = 0; index < count; index++) {
    all.push_back(*tensors[index]);
  }
  return all;
}

template <typename Call>
char* guarded(Call call) {
  try {
    call();
    return nullptr;
  } catch (const std::exception& fault) {
    return strdup(fault.what());
  }
}

}  // namespace

extern "C" char* finetuned_sgd_together(
    Tensors parameters,
    Tensors gradients,
    Tensors momenta,
    size_t count,
    double rate,
    double decay,
    double momentum,
    bool nesterov,
    bool is_first) {
  return guarded([&] {
    const auto kept = list(momenta, momentum == 0 ? 0 : count);
    at::_fused_sgd_(
        list(parameters, count), list(gradients, count), kept, decay, momentum, rate, 0, nesterov, false, is_first);
  });
}

extern "C" char* finetuned_adamw_together(
    Tensors parameters,
    Tensors gradients,
    Tensors means,
    Tensors squares,
    const at::Tensor* steps,
    size_t count,
    double rate,
    double decay,
    const double* betas,
    double epsilon) {
  return guarded([&] {
    const std::vector<at::Tensor> taken(count, *steps);
    at::_fused_adamw_(
        list(parameters, count),
        list(gradients, count),
        list(means, count),
        list(squares, count),
        {},
        taken,
        rate,
        betas[0],
        betas[1],
        decay,
        epsilon,
        false,
        false);
  });
}

extern "C" char* finetuned_norm_together(Tensors tensors, size_t count, at::Tensor** output) {
  return guarded([&] {
    const auto norms = at::_foreach_norm(list(tensors, count), 2);
    *output = new at::Tensor(at::stack(norms).norm());
  });
}

extern "C" char* finetuned_multiply_together(Tensors tensors, size_t count, const at::Tensor* factor) {
  return guarded([&] { at::_foreach_mul_(list(tensors, count), *factor); });
}

extern "C" char* finetuned_lerp_together(Tensors tensors, Tensors towards, size_t count, double weight) {
  return guarded([&] { at::_foreach_lerp_(list(tensors, count), list(towards, count), weight); });
}
