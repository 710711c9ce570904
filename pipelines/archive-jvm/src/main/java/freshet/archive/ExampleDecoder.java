package freshet.archive;

import com.google.protobuf.ByteString;
import java.io.IOException;
import java.io.Serializable;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.table.data.GenericArrayData;
import org.apache.flink.table.data.GenericMapData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.types.logical.ArrayType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.RowType;

/** A serialized {@code tf.train.Example} into a row; columns it says nothing of stay null. */
final class ExampleDecoder implements Serializable {
  private static final long serialVersionUID = 1L;
  private static final String SCORE = "score:";

  /** In front of a feature's name when a column of our own has that name. */
  private static final String FEATURE = "feature:";

  private final Map<String, Column> columns = new HashMap<>();
  private final int size;
  private final int scoresIndex;
  private final int exampleIndex;

  private record Column(int index, Wire.Kind kind, boolean isList) implements Serializable {}

  ExampleDecoder(RowType type) {
    size = type.getFieldCount();
    scoresIndex = type.getFieldIndex("scores");
    exampleIndex = type.getFieldIndex("example");
    for (int index = ExampleRows.OWN_COLUMNS; index < size; index++) {
      if (index != scoresIndex && index != exampleIndex) {
        String name = type.getFieldNames().get(index);
        String feature = name.startsWith(FEATURE) ? name.substring(FEATURE.length()) : name;
        columns.put(feature, column(index, type.getTypeAt(index)));
      }
    }
  }

  private static Column column(int index, LogicalType type) {
    boolean isList = type instanceof ArrayType;
    LogicalType element = isList ? ((ArrayType) type).getElementType() : type;
    return new Column(index, Wire.Kind.of(element.getTypeRoot()), isList);
  }

  /** Of a row. */
  int size() {
    return size;
  }

  /** Fills {@code row} with what fits; whether all of {@code example} does. */
  boolean decode(ByteString example, GenericRowData row) {
    Map<StringData, Float> scores = new HashMap<>();
    boolean fits = true;
    try {
      for (ByteString features : Wire.fields(example, 1)) {
        for (ByteString entry : Wire.fields(features, 1)) {
          fits &= put(Wire.last(entry, 1).toStringUtf8(), Wire.last(entry, 2), row, scores);
        }
      }
    } catch (IOException error) {
      fits = false;
    }
    row.setField(scoresIndex, new GenericMapData(scores));
    row.setField(exampleIndex, example.toByteArray());
    return fits;
  }

  private boolean put(
      String name, ByteString feature, GenericRowData row, Map<StringData, Float> scores)
      throws IOException {
    Column column = columns.get(name);
    if (column != null) {
      List<Object> values = Wire.values(feature, column.kind);
      if (column.isList && !values.isEmpty()) {
        row.setField(column.index, new GenericArrayData(values.toArray()));
      } else if (values.size() == 1) {
        row.setField(column.index, values.get(0));
      }
      return values.size() == 1 || (values.isEmpty() ? Wire.isEmpty(feature) : column.isList);
    }
    if (name.startsWith(SCORE)) {
      List<Object> values = Wire.values(feature, Wire.Kind.FLOAT);
      values.forEach(
          value ->
              scores.put(StringData.fromString(name.substring(SCORE.length())), (Float) value));
      return values.size() == 1;
    }
    return true;
  }
}
