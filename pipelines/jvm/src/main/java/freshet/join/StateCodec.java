package freshet.join;

import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** State as bytes: those of {@code pipelines/join/state.py}, version 2; version 1 is read too. */
final class StateCodec {
  private static final byte VERSION = 2;
  private static final int HEADER = 2;
  private static final int WAITING = 20;
  private static final int TAKEN = 29;
  private static final int ACTION = 28;
  private static final int PAIR = 8;

  private StateCodec() {}

  static byte[] encode(State state) {
    if (state instanceof State.Waiting waiting) {
      return encode(waiting);
    }
    return state instanceof State.Closed closed ? encode(closed) : encode((State.Early) state);
  }

  private static ByteBuffer begin(char kind, int bytes) {
    return ByteBuffer.allocate(HEADER + bytes).order(ByteOrder.LITTLE_ENDIAN).put(VERSION).put((byte) kind);
  }

  private static byte[] encode(State.Waiting waiting) {
    ByteBuffer out = begin('W', WAITING + waiting.value().length + TAKEN * waiting.taken().length);
    out.putLong(waiting.tsMs()).putLong(waiting.closedThroughMs()).putInt(waiting.value().length).put(waiting.value());
    for (Taken taken : waiting.taken()) {
      out.putInt(taken.position()).putInt(taken.label()).put((byte) (taken.hasLeft() ? 1 : 0));
      out.putFloat(taken.value()).putLong(taken.actionTsMs()).putLong(taken.loggedTsMs());
    }
    return out.array();
  }

  private static byte[] encode(State.Closed closed) {
    byte[][] ids = new byte[closed.taken().length][];
    int bytes = Long.BYTES;
    for (int place = 0; place < ids.length; place++) {
      ids[place] = closed.taken()[place].itemId().getBytes(StandardCharsets.UTF_8);
      bytes += PAIR + ids[place].length;
    }
    ByteBuffer out = begin('C', bytes).putLong(closed.tsMs());
    for (int place = 0; place < ids.length; place++) {
      out.putInt(closed.taken()[place].label()).putInt(ids[place].length).put(ids[place]);
    }
    return out.array();
  }

  private static byte[] encode(State.Early early) {
    ByteBuffer out = begin('E', early.actions().stream().mapToInt(each -> ACTION + each.bytes()).sum());
    for (EarlyAction action : early.actions()) {
      out.putInt(action.key() == null ? -1 : action.key().length).putInt(action.value().length);
      out.putInt(action.partition()).putLong(action.offset()).putLong(action.loggedTsMs());
      if (action.key() != null) {
        out.put(action.key());
      }
      out.put(action.value());
    }
    return out.array();
  }

  static State decode(byte[] data) {
    ByteBuffer in = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN);
    try {
      byte version = in.get();
      if (version != VERSION && version != 1) {
        throw new IllegalStateException("state of version " + version + ": this joiner reads versions 1 and " + VERSION);
      }
      return switch (in.get()) {
        case 'W' -> decodeWaiting(in, version);
        case 'C' -> decodeClosed(in);
        case 'E' -> decodeEarly(in);
        default -> throw new BufferUnderflowException();
      };
    } catch (BufferUnderflowException end) {
      throw new IllegalStateException("not a state: " + Arrays.toString(Arrays.copyOf(data, Math.min(64, data.length))));
    }
  }

  private static State decodeWaiting(ByteBuffer in, byte version) {
    long tsMs = in.getLong();
    long closedThroughMs = in.getLong();
    byte[] value = bytes(in, in.getInt());
    Taken[] taken = new Taken[in.remaining() / (version == 1 ? PAIR : TAKEN)];
    for (int place = 0; place < taken.length; place++) {
      taken[place] = version == 1 ? new Taken(in.getInt(), in.getInt(), true, 1.0f, 0, 0) : decodeTaken(in);
    }
    checkEnd(in);
    return new State.Waiting(tsMs, closedThroughMs, value, taken);
  }

  private static Taken decodeTaken(ByteBuffer in) {
    int position = in.getInt();
    int label = in.getInt();
    byte stage = in.get();
    float value = in.getFloat();
    if (stage < 0 || stage > 1 || !Float.isFinite(value)) {
      throw new BufferUnderflowException();
    }
    return new Taken(position, label, stage == 1, value, in.getLong(), in.getLong());
  }

  private static void checkEnd(ByteBuffer in) {
    if (in.hasRemaining()) {
      throw new BufferUnderflowException();
    }
  }

  private static State decodeClosed(ByteBuffer in) {
    long tsMs = in.getLong();
    List<State.ClosedLabel> taken = new ArrayList<>();
    while (in.hasRemaining()) {
      int label = in.getInt();
      taken.add(new State.ClosedLabel(new String(bytes(in, in.getInt()), StandardCharsets.UTF_8), label));
    }
    return new State.Closed(tsMs, taken.toArray(State.ClosedLabel[]::new));
  }

  private static State decodeEarly(ByteBuffer in) {
    List<EarlyAction> actions = new ArrayList<>();
    while (in.hasRemaining()) {
      int keyBytes = in.getInt();
      int valueBytes = in.getInt();
      int partition = in.getInt();
      long offset = in.getLong();
      long loggedTsMs = in.getLong();
      byte[] key = keyBytes < 0 ? null : bytes(in, keyBytes);
      actions.add(new EarlyAction(key, bytes(in, valueBytes), partition, offset, loggedTsMs));
    }
    return new State.Early(actions);
  }

  private static byte[] bytes(ByteBuffer in, int length) {
    if (length < 0 || length > in.remaining()) {
      throw new BufferUnderflowException();
    }
    byte[] out = new byte[length];
    in.get(out);
    return out;
  }
}
