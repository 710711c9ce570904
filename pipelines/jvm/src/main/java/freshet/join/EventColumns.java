package freshet.join;

import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.parquet.example.data.Group;
import org.apache.parquet.schema.LogicalTypeAnnotation.TimestampLogicalTypeAnnotation;
import org.apache.parquet.schema.MessageType;
import org.apache.parquet.schema.PrimitiveType;
import org.apache.parquet.schema.PrimitiveType.PrimitiveTypeName;
import org.apache.parquet.schema.Type;

/** The columns of a file of events: {@code value}, and of {@code timestamp, partition, offset} those that it has. */
final class EventColumns {
  private static final int NONE = -1;
  private static final Set<PrimitiveTypeName> NUMBERS = Set.of(PrimitiveTypeName.INT32, PrimitiveTypeName.INT64);

  private final MessageType schema;
  private final int value;
  private final int timestamp;
  private final int partition;
  private final int offset;
  private final TimeUnit unit;

  /** {@code schema} is one of {@link #wanted}. */
  EventColumns(MessageType schema) {
    this.schema = schema;
    value = place("value");
    timestamp = place("timestamp");
    partition = place("partition");
    offset = place("offset");
    unit = timestamp == NONE ? TimeUnit.MILLISECONDS : unit(schema.getType(timestamp));
  }

  private int place(String name) {
    return schema.containsField(name) ? schema.getFieldIndex(name) : NONE;
  }

  private static TimeUnit unit(Type type) {
    if (type.getLogicalTypeAnnotation() instanceof TimestampLogicalTypeAnnotation of) {
      return switch (of.getUnit()) {
        case MILLIS -> TimeUnit.MILLISECONDS;
        case MICROS -> TimeUnit.MICROSECONDS;
        case NANOS -> TimeUnit.NANOSECONDS;
      };
    }
    return TimeUnit.MILLISECONDS;
  }

  /** The columns that are read. Throws IllegalArgumentException when one is not what it has to be. */
  static MessageType wanted(MessageType file) {
    if (!file.containsField("value")) {
      throw new IllegalArgumentException("it has no column `value`, the event");
    }
    List<Type> wanted =
        file.getFields().stream()
            .filter(each -> Set.of("value", "timestamp", "partition", "offset").contains(each.getName()))
            .toList();
    for (Type column : wanted) {
      check(column);
    }
    return new MessageType(file.getName(), wanted);
  }

  private static void check(Type column) {
    boolean isValue = column.getName().equals("value");
    Set<PrimitiveTypeName> right = isValue ? Set.of(PrimitiveTypeName.BINARY) : NUMBERS;
    if (!column.isPrimitive()
        || column.isRepetition(Type.Repetition.REPEATED)
        || !right.contains(column.asPrimitiveType().getPrimitiveTypeName())) {
      String wanted = isValue ? "bytes or text" : "whole numbers, or a TIMESTAMP for `timestamp`";
      throw new IllegalArgumentException("column `" + column.getName() + "` must be " + wanted + "; it is " + column);
    }
  }

  byte[] value(Group row) {
    return isNull(row, value) ? null : row.getBinary(value, 0).getBytes();
  }

  long loggedTsMs(Group row) {
    return isNull(row, timestamp) ? Arrival.NOT_LOGGED : unit.toMillis(number(row, timestamp));
  }

  /** Whether the row says where in Kafka it was. */
  boolean isOfKafka(Group row) {
    return !isNull(row, partition) && !isNull(row, offset);
  }

  int partition(Group row) {
    return (int) number(row, partition);
  }

  long offset(Group row) {
    return number(row, offset);
  }

  private static boolean isNull(Group row, int column) {
    return column == NONE || row.getFieldRepetitionCount(column) == 0;
  }

  private long number(Group row, int column) {
    PrimitiveType type = schema.getType(column).asPrimitiveType();
    return type.getPrimitiveTypeName() == PrimitiveTypeName.INT32 ? row.getInteger(column, 0) : row.getLong(column, 0);
  }
}
