"""The join: `logic` says what happens to an event, `state` how it waits, `operator` ties both to Flink."""
