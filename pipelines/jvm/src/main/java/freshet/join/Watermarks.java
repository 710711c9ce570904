package freshet.join;

import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;

/** The watermark of one partition: the latest time that is believed, less how far events may be out of order. */
final class Watermarks implements WatermarkGenerator<KeyedArrival> {
  private final long outOfOrderMs;
  private long latestMs = KeyedArrival.NO_TIME;

  Watermarks(long outOfOrderMs) {
    this.outOfOrderMs = outOfOrderMs;
  }

  @Override
  public void onEvent(KeyedArrival event, long timestampMs, WatermarkOutput output) {
    latestMs = Math.max(latestMs, event.eventTimeMs());
  }

  @Override
  public void onPeriodicEmit(WatermarkOutput output) {
    if (latestMs != KeyedArrival.NO_TIME) {
      output.emitWatermark(new Watermark(Saturated.add(latestMs, -outOfOrderMs)));
    }
  }
}
