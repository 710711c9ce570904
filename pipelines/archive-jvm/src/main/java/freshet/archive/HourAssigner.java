package freshet.archive;

import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.flink.streaming.api.functions.sink.filesystem.BucketAssigner;
import org.apache.flink.streaming.api.functions.sink.filesystem.bucketassigners.SimpleVersionedStringSerializer;
import org.apache.flink.table.data.RowData;

/** The folder of a row: day and hour of its event time, UTC, as Hive names partitions. */
final class HourAssigner implements BucketAssigner<RowData, String> {
  private static final long serialVersionUID = 1L;
  private static final long HOUR_MS = 3_600_000;
  private static final DateTimeFormatter FOLDER =
      DateTimeFormatter.ofPattern("'event_day='uuuu-MM-dd'/event_hour='HH")
          .withZone(ZoneOffset.UTC);

  private final int tsIndex;
  private transient long newestHour;
  private transient String newestFolder;

  HourAssigner(int tsIndex) {
    this.tsIndex = tsIndex;
  }

  @Override
  public String getBucketId(RowData row, Context context) {
    // An example without a time makes no sense to anybody, and is kept all the same.
    long hour = row.isNullAt(tsIndex) ? 0 : Math.floorDiv(row.getLong(tsIndex), HOUR_MS);
    if (newestFolder == null || hour != newestHour) {
      newestHour = hour;
      newestFolder = FOLDER.format(Instant.ofEpochMilli(hour * HOUR_MS));
    }
    return newestFolder;
  }

  @Override
  public SimpleVersionedSerializer<String> getSerializer() {
    return SimpleVersionedStringSerializer.INSTANCE;
  }
}
