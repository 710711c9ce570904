package freshet.bench;

/** State of one request: what came, and which of its items have left as positives. */
public final class Waiting {
  /** The event of features, JSON; empty while only actions have come. */
  public byte[] request = {};

  /** Bit i: the item at position i has left. */
  public long left;

  /** Actions that came before their request, JSON. */
  public byte[][] early = {};

  /** For Flink. */
  public Waiting() {}
}
