// Which optimizer, and what it is given: the native half of OptimizerSettings in ps/settings.py.
#pragma once

namespace freshet {

enum class OptimizerKind {
  kNone,
  kSgd,
  kMomentum,
  kAdagrad,
  kRowwiseAdagrad,
  kAdam,
  kAdamW,
  kRmsProp,
  kAdadelta,
  kFtrl,
  kGroupFtrl
};

// What a table does with a row whose gradient is NaN, infinite or beyond kMaxGradient.
enum class BadGradients { kRefuse, kSkip, kClip };

// Named as there, where it says what they are. The learning rate comes with each batch.
struct OptimizerConstants {
  float momentum = 0.0f;
  bool nesterov = false;
  float initial_accumulator = 0.0f;
  float beta_1 = 0.0f;
  float beta_2 = 0.0f;
  float rho = 0.0f;
  float epsilon = 0.0f;
  float weight_decay = 0.0f;
  float learning_rate_power = 0.0f;
  float beta = 0.0f;
  float l1 = 0.0f;
  float l2 = 0.0f;
  float l2_shrinkage = 0.0f;
  float l21 = 0.0f;
  float clipvalue = 0.0f;  // 0: no clipping
  float clipnorm = 0.0f;   // 0: no clipping
  BadGradients bad_gradients = BadGradients::kRefuse;
};

}  // namespace freshet
