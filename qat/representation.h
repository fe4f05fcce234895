// A Representation: how one layer's weight is stored, and which gradient its pieces get.
//
// encode() makes Codes from a weight, adopt() takes Codes that exist without one (a checkpoint, an
// exported file, PV-Tuning). What follows (decode, codes) reads the same stored pieces: that is why
// the file holds what training multiplied with. One object a layer; not thread-safe.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "qat/coded_product.h"
#include "qat/codes.h"
#include "qat/plan.h"

namespace terse {

struct RepresentationGradients {
  at::Tensor weight;                   // fp32 [out, in]; undefined where there is no weight
  std::vector<at::Tensor> parameters;  // as parameters(), each of its shape
};

struct LearnedTensor {
  std::string name;  // appended to the layer's name
  at::Tensor value;  // fp32 leaf
};

class Representation {
 public:
  virtual ~Representation() = default;
  // Block of the rotation along the columns that the stored space has; 0 = none. The layer rotates
  // its input alike.
  virtual int64_t hadamard() const = 0;

  // Encodes fp32 [out, in]. With `decoded`, a tensor of its shape in fp32 or bf16, also writes the
  // decoded values there in the same pass. Error(non_finite) if the weight holds NaN or infinity.
  virtual void encode(const at::Tensor& weight, const at::Tensor& decoded) = 0;
  // Error(invalid_file) if the format is not this representation's or the shape is another.
  virtual void adopt(const Codes& codes, const at::Tensor& decoded) = 0;

  // fp32 [out, in] in the stored space; bit for bit codes().decode().
  virtual at::Tensor decode() const = 0;
  virtual Codes codes() const = 0;
  // What codes() copies, as it is kept; only of representations that are codes and scales alone,
  // whose decoded values then need not be written by encode().
  virtual std::optional<CodedMatrix> coded() const { return std::nullopt; }

  // Learned tensors besides the weight (step sizes, codebooks): the optimizer, the exchange and the
  // checkpoint treat them like weights. None for grids with computed scales.
  virtual std::vector<LearnedTensor> parameters() { return {}; }
  // From the gradient of the decoded values [out, in] (fp32 or bf16), with the estimator's mask of
  // the latest encode().
  virtual RepresentationGradients backward(const at::Tensor& d_decoded) = 0;
};

// Grids with computed scales (qat/grid.h). The mask of the estimator is kept as 1 bit an element.
std::unique_ptr<Representation> make_uniform(std::string name, const Quantizer& quantizer);
// Grids with learned steps (qat/lsq.h), which start from this weight; "log_step" is the learned
// tensor. For quantizers whose scale rule is ScaleRule::learned.
std::unique_ptr<Representation> make_lsq(std::string name, const Quantizer& quantizer,
                                         const at::Tensor& weight);

}  // namespace terse
