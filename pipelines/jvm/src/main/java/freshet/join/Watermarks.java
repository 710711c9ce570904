package freshet.join;

import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.util.clock.RelativeClock;

/**
 * The watermark of one partition: the latest time that is believed, less how far events may be out of order.
 *
 * <p>A partition without a believed time for {@code idleMs} is idle, whatever else it gets: Flink's own idleness counts every
 * record, so that garbage alone would hold back event time for ever.
 */
final class Watermarks implements WatermarkGenerator<KeyedArrival> {
  private final long outOfOrderMs;
  private final long idleMs;
  private final RelativeClock clock;
  private long latestMs = KeyedArrival.NO_TIME;
  private long activeMs;
  private boolean hasNews;

  /** {@code idleMs} {@link Long#MAX_VALUE}: never idle; {@code clock} stands still while the source may not read. */
  Watermarks(long outOfOrderMs, long idleMs, RelativeClock clock) {
    this.outOfOrderMs = outOfOrderMs;
    this.idleMs = idleMs;
    this.clock = clock;
    activeMs = clock.relativeTimeMillis();
  }

  @Override
  public void onEvent(KeyedArrival event, long timestampMs, WatermarkOutput output) {
    if (event.eventTimeMs() != KeyedArrival.NO_TIME) {
      latestMs = Math.max(latestMs, Math.min(event.eventTimeMs(), event.mostMs()));
      hasNews = true;
    }
  }

  @Override
  public void onPeriodicEmit(WatermarkOutput output) {
    // The clock is asked here, not with every event.
    if (hasNews) {
      hasNews = false;
      activeMs = clock.relativeTimeMillis();
      output.emitWatermark(new Watermark(Saturated.add(latestMs, -outOfOrderMs)));
    } else if (clock.relativeTimeMillis() - activeMs >= idleMs) {
      output.markIdle();
    }
  }
}
