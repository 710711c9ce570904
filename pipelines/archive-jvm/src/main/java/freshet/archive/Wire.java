package freshet.archive;

import com.google.protobuf.ByteString;
import com.google.protobuf.CodedInputStream;
import com.google.protobuf.WireFormat;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.types.logical.LogicalTypeRoot;

/** Protobuf's wire format, as far as {@code example.proto} goes. Everything raises IOException for bytes that are none. */
final class Wire {
  private static final int VALUE = 1;

  /** What a {@code Feature} may hold: the number of its list, and how a single value is written. */
  enum Kind {
    STRING(1, WireFormat.WIRETYPE_LENGTH_DELIMITED),
    FLOAT(2, WireFormat.WIRETYPE_FIXED32),
    INTEGER(3, WireFormat.WIRETYPE_VARINT);

    private final int list;
    private final int wireType;

    Kind(int list, int wireType) {
      this.list = list;
      this.wireType = wireType;
    }

    static Kind of(LogicalTypeRoot root) {
      return switch (root) {
        case VARCHAR -> STRING;
        case FLOAT -> FLOAT;
        case BIGINT -> INTEGER;
        default -> throw new IllegalArgumentException("no feature holds " + root);
      };
    }

    private Object read(CodedInputStream in) throws IOException {
      return switch (this) {
        case STRING -> StringData.fromString(in.readBytes().toStringUtf8());
        case FLOAT -> in.readFloat();
        case INTEGER -> in.readInt64();
      };
    }
  }

  private Wire() {}

  /** All fields with this number that have a length, in order. */
  static List<ByteString> fields(ByteString message, int number) throws IOException {
    List<ByteString> found = new ArrayList<>();
    CodedInputStream in = message.newCodedInput();
    in.enableAliasing(true);
    for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
      if (tag == tag(number, WireFormat.WIRETYPE_LENGTH_DELIMITED)) {
        found.add(in.readBytes());
      } else {
        in.skipField(tag);
      }
    }
    return found;
  }

  /** The last of {@link #fields}, which is the one that counts; empty when there is none. */
  static ByteString last(ByteString message, int number) throws IOException {
    List<ByteString> found = fields(message, number);
    return found.isEmpty() ? ByteString.EMPTY : found.get(found.size() - 1);
  }

  /** The values of a {@code Feature} if they are of this kind; numbers may be packed or not. */
  static List<Object> values(ByteString feature, Kind kind) throws IOException {
    List<Object> values = new ArrayList<>(1);
    CodedInputStream in = last(feature, kind.list).newCodedInput();
    for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
      if (tag == tag(VALUE, kind.wireType)) {
        values.add(kind.read(in));
      } else if (tag == tag(VALUE, WireFormat.WIRETYPE_LENGTH_DELIMITED)) {
        int outer = in.pushLimit(in.readRawVarint32());
        while (!in.isAtEnd()) {
          values.add(kind.read(in));
        }
        in.popLimit(outer);
      } else {
        in.skipField(tag);
      }
    }
    return values;
  }

  /** Whether a {@code Feature} has no values of any kind. */
  static boolean isEmpty(ByteString feature) throws IOException {
    for (Kind kind : Kind.values()) {
      if (!last(feature, kind.list).isEmpty()) {
        return false;
      }
    }
    return true;
  }

  private static int tag(int number, int wireType) {
    return number << 3 | wireType;
  }
}
