package freshet.join;

import java.util.List;
import org.apache.flink.api.common.TaskInfo;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Behind each reader of a bounded input: tells all of the join when its reader has ended, and how far its events went.
 *
 * <p>The last watermark does not say it: it trails, and the one that Flink sends at an end is that of eternity.
 */
final class EndTeller extends AbstractStreamOperator<KeyedArrival>
    implements OneInputStreamOperator<KeyedArrival, KeyedArrival> {
  private static final long serialVersionUID = 1L;

  private final boolean isAction;
  private transient long latestMs;
  private transient ListState<Long> latestState;

  EndTeller(boolean isAction) {
    this.isAction = isAction;
  }

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    latestMs = KeyedArrival.NO_TIME;
    latestState =
        context.getOperatorStateStore().getListState(new ListStateDescriptor<>("latest", LongSerializer.INSTANCE));
    for (long restoredMs : latestState.get()) {
      latestMs = Math.max(latestMs, restoredMs);
    }
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    latestState.update(List.of(latestMs));
  }

  @Override
  public void processElement(StreamRecord<KeyedArrival> element) {
    latestMs = Math.max(latestMs, element.getValue().eventTimeMs());
    output.collect(element);
  }

  @Override
  public void processWatermark(Watermark mark) throws Exception {
    if (mark.getTimestamp() == Watermark.MAX_WATERMARK.getTimestamp()) {
      tellAll();
    }
    super.processWatermark(mark);
  }

  /** One to each subtask of the join, which has as many as the readers are. */
  private void tellAll() {
    TaskInfo task = getRuntimeContext().getTaskInfo();
    int subtasks = task.getNumberOfParallelSubtasks();
    InputEnd end = new InputEnd(isAction, task.getIndexOfThisSubtask(), subtasks, latestMs);
    boolean[] isTold = new boolean[subtasks];
    for (int told = 0, number = 0; told < subtasks; number++) {
      String key = "-end-" + number;
      int subtask =
          KeyGroupRangeAssignment.assignKeyToParallelOperator(key, task.getMaxNumberOfParallelSubtasks(), subtasks);
      if (!isTold[subtask]) {
        isTold[subtask] = true;
        told++;
        output.collect(new StreamRecord<>(KeyedArrival.of(key, end)));
      }
    }
  }
}
