package freshet.join;

import java.util.Arrays;
import java.util.List;

/** What waits under one request id. */
sealed interface State {

  /** Actions that wait for their request. */
  record Early(List<EarlyAction> actions) implements State {}

  /**
   * A request with at least one open label.
   *
   * @param closedThroughMs what ends by then has ended, of every label
   * @param value the event as it came
   * @param taken in order of position and label
   */
  record Waiting(long tsMs, long closedThroughMs, byte[] value, Taken[] taken) implements State {
    private static final Taken[] NOTHING = {};

    static Waiting of(Request request, byte[] value) {
      return new Waiting(request.tsMs(), request.tsMs(), value, NOTHING);
    }

    /** What a label of an item has taken; null: nothing. */
    Taken taken(int position, int label) {
      for (Taken each : taken) {
        if (each.isOf(position, label)) {
          return each;
        }
      }
      return null;
    }

    /** Whether any label of an item has left as an example of an action. */
    boolean hasLeft(int position) {
      for (Taken each : taken) {
        if (each.position() == position && each.hasLeft()) {
          return true;
        }
      }
      return false;
    }

    Waiting closedThrough(long throughMs) {
      return new Waiting(tsMs, throughMs, value, taken);
    }

    /** With what a label of an item has taken now, instead of what it took before. */
    Waiting with(Taken one) {
      Taken[] now;
      int at = Arrays.binarySearch(taken, one);
      if (at >= 0) {
        now = taken.clone();
      } else {
        at = -1 - at;
        now = new Taken[taken.length + 1];
        System.arraycopy(taken, 0, now, 0, at);
        System.arraycopy(taken, at, now, at + 1, taken.length - at);
      }
      now[at] = one;
      return new Waiting(tsMs, closedThroughMs, value, now);
    }
  }

  /** A request whose last label has ended; of those that took an action, in order of item id and label. */
  record Closed(long tsMs, ClosedLabel[] taken) implements State {

    boolean hasTaken(String itemId, int label) {
      for (ClosedLabel each : taken) {
        if (each.label() == label && each.itemId().equals(itemId)) {
          return true;
        }
      }
      return false;
    }
  }

  /** A label of an item that took an action. */
  record ClosedLabel(String itemId, int label) {}
}
