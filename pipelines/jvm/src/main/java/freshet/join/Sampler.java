package freshet.join;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Which negatives are kept: by hash, so that every run of a job keeps the same ones.
 *
 * <p>Each item of a request has a uniform number u from its ids and a rate r; p = u / r is its priority. It is kept when
 * p &lt; 1, and, with a cap of C items per request, when p is also below the C-th smallest priority of the others
 * (Duffield, Lund, Thorup: Priority sampling, J. ACM 54(6), 2007).
 */
final class Sampler {
  private static final double UNIT = 0x1p-53;

  private final String seed;
  private final Rates rates;
  private final int cap;

  Sampler(Settings settings) {
    seed = settings.seed() + "\0";
    rates = settings.joiner().rates();
    cap = settings.joiner().maxPerRequest();
  }

  Sample of(Request request) {
    return new Sample(request);
  }

  private double uniform(String requestId, String itemId) {
    String text = seed + requestId + "\0" + itemId;
    return (Blake2b.digest(text.getBytes(StandardCharsets.UTF_8)) >>> 11) * UNIT;
  }

  /** Which items of one request are kept, by position, and how likely. Worked out when asked for. */
  final class Sample {
    private final Request request;
    private double[] priorities;

    private Sample(Request request) {
      this.request = request;
    }

    /** The probability with which an item is kept, given the others. */
    float rate(int position) {
      return (float) (rates.of(request, position) * Math.min(1.0, bound(position)));
    }

    /** Whether an item's negative is kept. */
    boolean isKept(int position) {
      if (cap == 0 && rates.of(request, position) >= 1.0) {
        return true;
      }
      return priority(position) < Math.min(1.0, bound(position));
    }

    private double priority(int position) {
      return uniform(request.requestId(), request.itemIds()[position]) / rates.of(request, position);
    }

    /** The C-th smallest priority of the other items; infinite when there are fewer, or no cap. */
    private double bound(int position) {
      if (cap == 0) {
        return Double.POSITIVE_INFINITY;
      }
      if (priorities == null) {
        priorities = sortedPriorities();
      }
      if (priorities.length <= cap) {
        return Double.POSITIVE_INFINITY;
      }
      // Without its own, what stands behind moves up.
      return priority(position) <= priorities[cap - 1] ? priorities[cap] : priorities[cap - 1];
    }

    private double[] sortedPriorities() {
      return Arrays.stream(request.distinct()).mapToDouble(this::priority).sorted().toArray();
    }
  }
}
