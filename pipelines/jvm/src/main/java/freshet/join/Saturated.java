package freshet.join;

/** Sums that end at the bounds of a long: beyond them every comparison has the same outcome. */
final class Saturated {
  private Saturated() {}

  static long add(long one, long other) {
    long sum = one + other;
    boolean isBeyond = ((one ^ sum) & (other ^ sum)) < 0;
    return isBeyond ? (one < 0 ? Long.MIN_VALUE : Long.MAX_VALUE) : sum;
  }
}
