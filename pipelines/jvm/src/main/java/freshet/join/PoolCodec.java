package freshet.join;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * A pool as operator state: pieces that another number of subtasks can share out. A piece is a version (u8) and its items:
 * i64 when shown, u32 length, id, u32 length, JSON; numbers are big endian.
 */
final class PoolCodec {
  private static final StateFormat FORMAT = new StateFormat("a pool", 1);
  private static final int NUMBERS_BYTES = Long.BYTES + 2 * Integer.BYTES;
  /** Each piece costs a place in the checkpoint's directory. */
  private static final int PIECE_ITEMS = 256;

  private PoolCodec() {}

  static List<byte[]> encode(List<Pooled> items) {
    List<byte[]> pieces = new ArrayList<>();
    for (int start = 0; start < items.size(); start += PIECE_ITEMS) {
      pieces.add(encodePiece(items.subList(start, Math.min(items.size(), start + PIECE_ITEMS))));
    }
    return pieces;
  }

  private static byte[] encodePiece(List<Pooled> items) {
    byte[][] ids = items.stream().map(item -> Utf8.bytes(item.itemId())).toArray(byte[][]::new);
    int bytes = 0;
    for (int place = 0; place < ids.length; place++) {
      bytes += NUMBERS_BYTES + ids[place].length + items.get(place).json().length;
    }
    ByteBuffer out = FORMAT.begin(bytes);
    for (int place = 0; place < ids.length; place++) {
      Pooled item = items.get(place);
      out.putLong(item.shownMs()).putInt(ids[place].length).put(ids[place]);
      out.putInt(item.json().length).put(item.json());
    }
    return out.array();
  }

  static List<Pooled> decode(byte[] piece) {
    ByteBuffer in = FORMAT.open(piece);
    List<Pooled> items = new ArrayList<>();
    while (in.hasRemaining()) {
      long shownMs = in.getLong();
      String itemId = Utf8.text(bytes(in));
      items.add(new Pooled(itemId, bytes(in), shownMs));
    }
    return items;
  }

  private static byte[] bytes(ByteBuffer in) {
    byte[] bytes = new byte[in.getInt()];
    in.get(bytes);
    return bytes;
  }
}
