package freshet.join;

/** A message for one of the two topics of results; of a dead letter with its headers. Null: none. */
public final class Message {
  public byte[] key;
  public byte[] value;
  public byte[] topic;
  public byte[] partition;
  public byte[] offset;
  public byte[] reason;
  public byte[] detail;
}
