package freshet.bench;

/** An event of either topic: what the join needs to know of it, and the event as it came. */
public final class Event {
  /** The key. */
  public String requestId = "";

  /** Event time, milliseconds since 1970. */
  public long tsMs;

  /** JSON. */
  public byte[] value = {};

  /** For Flink. */
  public Event() {}

  Event(String requestId, long tsMs, byte[] value) {
    this.requestId = requestId;
    this.tsMs = tsMs;
    this.value = value;
  }
}
