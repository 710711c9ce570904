package freshet.join;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.zip.CRC32;

/**
 * A label as the join needs it.
 *
 * @param index its place in the job file
 * @param when the condition of an action that counts; null: every one does
 * @param value what an action makes of it; null: the action's own value
 * @param otherwise what it is without an action; null: nothing is taught then
 * @param reachMs the window, and how long after it actions still count
 */
record Label(
    int index,
    String name,
    int id,
    List<String> actions,
    boolean isNumber,
    String when,
    String value,
    Take take,
    Float otherwise,
    long windowMs,
    long reachMs) {

  /** Of several actions, which one makes a number. */
  enum Take {
    FIRST,
    LAST,
    MAX
  }

  /** What becomes of an action. */
  enum Fate {
    /** In an example, at once. */
    LEAVES,
    /** For the window to close. */
    WAITS,
    NOTHING
  }

  /** 32 bits that stand for a label in the state, whatever labels are added before it. */
  static int id(String name) {
    CRC32 crc = new CRC32();
    crc.update(name.getBytes(StandardCharsets.UTF_8));
    return (int) crc.getValue();
  }

  boolean isClosed(State.Waiting state) {
    return state.closedThroughMs() >= state.tsMs() + windowMs;
  }

  boolean isInWindow(State.Waiting state, Taken taken) {
    return distanceMs(state, taken) <= windowMs;
  }

  private static long distanceMs(State.Waiting state, Taken taken) {
    return Math.abs(taken.actionTsMs() - state.tsMs());
  }

  /** Its value as far as it is settled; 0 while it is not. */
  float known(State.Waiting state, int position) {
    Taken taken = state.taken(position, id);
    if (taken != null && taken.hasLeft()) {
      return taken.value();
    }
    return otherwise != null && isClosed(state) ? otherwise : 0.0f;
  }

  /** What becomes of an offer, when {@code taken} (null: nothing) was taken before. */
  Fate fate(State.Waiting state, Taken taken, Taken offer) {
    boolean isOver = state.closedThroughMs() >= state.tsMs() + reachMs;
    if (isOver || distanceMs(state, offer) > reachMs || taken != null && taken.hasLeft()) {
      return Fate.NOTHING;
    }
    if (take != Take.FIRST) {
      return taken == null || isBetter(offer, taken) ? Fate.WAITS : Fate.NOTHING;
    }
    if (isInWindow(state, offer) || isClosed(state)) {
      return Fate.LEAVES;
    }
    // It is late before its window has closed. Let out now, it would be another example than after the negative.
    return taken == null ? Fate.WAITS : Fate.NOTHING;
  }

  private boolean isBetter(Taken offer, Taken taken) {
    int byTime = Long.compare(offer.actionTsMs(), taken.actionTsMs());
    // There is no -0 among them.
    int byValue = Float.compare(offer.value(), taken.value());
    return take == Take.LAST ? (byTime != 0 ? byTime > 0 : byValue > 0) : (byValue != 0 ? byValue > 0 : byTime > 0);
  }
}
