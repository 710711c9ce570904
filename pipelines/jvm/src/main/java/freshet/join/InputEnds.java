package freshet.join;

import java.nio.ByteBuffer;
import java.util.BitSet;

/**
 * How far event time goes at most, since inputs have ended.
 *
 * <p>An input whose readers have all ended lets no window close beyond its last event: of what comes after that nobody
 * knows, and the other input alone would make negatives of it.
 */
final class InputEnds {
  private static final StateFormat FORMAT = new StateFormat("ends", 1);

  private final long outOfOrderMs;
  private final Input features = new Input();
  private final Input actions = new Input();

  /** What is known of one input. */
  private static final class Input {
    private final BitSet ended = new BitSet();
    private long latestMs = KeyedArrival.NO_TIME;
    private boolean isOver;

    void end(InputEnd end) {
      latestMs = Math.max(latestMs, end.latestMs());
      ended.set(end.reader());
      isOver |= ended.cardinality() == end.readers();
    }

    /** Without any event that has a time it says nothing of time. */
    long mostMs(long outOfOrderMs) {
      return isOver && latestMs != KeyedArrival.NO_TIME ? Saturated.add(latestMs, -outOfOrderMs) : Long.MAX_VALUE;
    }
  }

  InputEnds(long outOfOrderMs) {
    this.outOfOrderMs = outOfOrderMs;
  }

  void end(InputEnd end) {
    (end.ofActions() ? actions : features).end(end);
  }

  /**
   * Event time at a watermark. When a job over topics without an end is drained that is eternity, which closes no window. A
   * backfill takes it for the end of its inputs.
   */
  long timeMs(long watermarkMs) {
    if (watermarkMs == Long.MAX_VALUE && !(features.isOver && actions.isOver)) {
      return Long.MIN_VALUE;
    }
    return Math.min(watermarkMs, Math.min(features.mostMs(outOfOrderMs), actions.mostMs(outOfOrderMs)));
  }

  /** Version (u8), then of features and actions each: u8 whether it is over, i64 latest time. */
  byte[] encode() {
    ByteBuffer out = FORMAT.begin(2 * (1 + Long.BYTES));
    for (Input input : new Input[] {features, actions}) {
      out.put((byte) (input.isOver ? 1 : 0)).putLong(input.latestMs);
    }
    return out.array();
  }

  /** Of an input that is not over all readers begin again, also those that had ended. */
  void restore(byte[] data) {
    ByteBuffer in = FORMAT.open(data);
    for (Input input : new Input[] {features, actions}) {
      input.isOver |= in.get() == 1;
      input.latestMs = Math.max(input.latestMs, in.getLong());
    }
  }
}
