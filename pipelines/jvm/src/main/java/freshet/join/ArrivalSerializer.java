package freshet.join;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** An arrival as bytes; arrivals are never changed, so that a copy is the arrival itself. */
final class ArrivalSerializer extends TypeSerializerSingleton<KeyedArrival> {
  private static final long serialVersionUID = 1L;
  private static final int NONE = -1;
  private static final byte REQUEST = 0;
  private static final byte ACTION = 1;
  private static final byte END = 2;

  @Override
  public void serialize(KeyedArrival keyed, DataOutputView out) throws IOException {
    write(keyed.id().getBytes(StandardCharsets.UTF_8), out);
    if (keyed.end() == null) {
      serialize(keyed.arrival(), out);
    } else {
      out.writeByte(END);
      out.writeBoolean(keyed.end().ofActions());
      out.writeInt(keyed.end().reader());
      out.writeInt(keyed.end().readers());
      out.writeLong(keyed.end().latestMs());
    }
  }

  private static void serialize(Arrival arrival, DataOutputView out) throws IOException {
    out.writeByte(arrival.isAction() ? ACTION : REQUEST);
    write(arrival.key(), out);
    write(arrival.value(), out);
    out.writeInt(arrival.partition());
    out.writeLong(arrival.offset());
    out.writeLong(arrival.loggedTsMs());
  }

  @Override
  public KeyedArrival deserialize(DataInputView in) throws IOException {
    String id = new String(read(in), StandardCharsets.UTF_8);
    byte kind = in.readByte();
    if (kind == END) {
      return KeyedArrival.of(id, new InputEnd(in.readBoolean(), in.readInt(), in.readInt(), in.readLong()));
    }
    byte[] key = read(in);
    byte[] value = read(in);
    Arrival arrival = new Arrival(kind == ACTION, key, value, in.readInt(), in.readLong(), in.readLong());
    return new KeyedArrival(id, arrival, KeyedArrival.NO_TIME, KeyedArrival.NO_TIME);
  }

  private static void write(byte[] bytes, DataOutputView out) throws IOException {
    if (bytes == null) {
      out.writeInt(NONE);
    } else {
      out.writeInt(bytes.length);
      out.write(bytes);
    }
  }

  private static byte[] read(DataInputView in) throws IOException {
    int length = in.readInt();
    if (length == NONE) {
      return null;
    }
    byte[] bytes = new byte[length];
    in.readFully(bytes);
    return bytes;
  }

  @Override
  public KeyedArrival deserialize(KeyedArrival reuse, DataInputView in) throws IOException {
    return deserialize(in);
  }

  @Override
  public KeyedArrival createInstance() {
    return null;
  }

  @Override
  public KeyedArrival copy(KeyedArrival from) {
    return from;
  }

  @Override
  public KeyedArrival copy(KeyedArrival from, KeyedArrival reuse) {
    return from;
  }

  @Override
  public void copy(DataInputView in, DataOutputView out) throws IOException {
    serialize(deserialize(in), out);
  }

  @Override
  public boolean isImmutableType() {
    return true;
  }

  @Override
  public int getLength() {
    return -1;
  }

  @Override
  public TypeSerializerSnapshot<KeyedArrival> snapshotConfiguration() {
    return new Snapshot();
  }

  /** Says that arrivals are written by this class. */
  public static final class Snapshot extends SimpleTypeSerializerSnapshot<KeyedArrival> {
    /** Called by Flink. */
    public Snapshot() {
      super(ArrivalSerializer::new);
    }
  }
}
