package freshet.archive;

import com.google.protobuf.ByteString;
import com.google.protobuf.UnsafeByteOperations;
import java.io.IOException;
import java.util.List;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.util.Collector;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A row per example of a message, keyed by partition.
 *
 * <p>The rows of a partition are numbered without a gap ({@code sequence}), so that whoever reads
 * files sees whether one is missing or came twice.
 */
final class ExampleRows extends KeyedProcessFunction<Integer, RowData, RowData> {
  /** Columns of messages, the first three of rows as well. */
  static final int TOPIC = 0;

  static final int PARTITION = 1;
  static final int OFFSET = 2;
  private static final int VALUE = 3;

  /** How many columns of a row do not come from its example: the three, position, sequence. */
  static final int OWN_COLUMNS = 5;

  private static final int POSITION = 3;
  private static final int SEQUENCE = 4;

  private static final long serialVersionUID = 1L;
  private static final Logger LOG = LoggerFactory.getLogger(ExampleRows.class);

  private final ExampleDecoder decoder;
  private transient ValueState<Long> written;
  private transient Counter rows;
  private transient Counter malformed;

  ExampleRows(RowType type) {
    decoder = new ExampleDecoder(type);
  }

  @Override
  public void open(OpenContext context) {
    written = getRuntimeContext().getState(new ValueStateDescriptor<>("written", Types.LONG));
    MetricGroup group = getRuntimeContext().getMetricGroup();
    rows = group.counter("freshet_archive_rows");
    malformed = group.counter("freshet_archive_malformed");
  }

  @Override
  public void processElement(RowData message, Context context, Collector<RowData> out)
      throws IOException {
    List<ByteString> examples = examples(message);
    Long before = written.value();
    long sequence = before == null ? 0 : before;
    for (int position = 0; position < examples.size(); position++) {
      out.collect(row(message, position, sequence++, examples.get(position)));
    }
    written.update(sequence);
    rows.inc(examples.size());
  }

  private RowData row(RowData message, int position, long sequence, ByteString example) {
    GenericRowData row = new GenericRowData(decoder.size());
    row.setField(TOPIC, message.getString(TOPIC));
    row.setField(PARTITION, message.getInt(PARTITION));
    row.setField(OFFSET, message.getLong(OFFSET));
    row.setField(POSITION, position);
    row.setField(SEQUENCE, sequence);
    if (!decoder.decode(example, row)) {
      complain(message, "example " + position + " does not fit the schema of this job");
    }
    return row;
  }

  private List<ByteString> examples(RowData message) {
    if (message.isNullAt(VALUE)) {
      return List.of();
    }
    try {
      return Wire.fields(UnsafeByteOperations.unsafeWrap(message.getBinary(VALUE)), 1);
    } catch (IOException error) {
      complain(message, "no list of examples: " + error.getMessage());
      return List.of();
    }
  }

  private void complain(RowData message, String what) {
    malformed.inc();
    LOG.error(
        "{}, partition {}, offset {}: {}",
        message.getString(TOPIC),
        message.getInt(PARTITION),
        message.getLong(OFFSET),
        what);
  }
}
