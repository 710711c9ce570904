package freshet.join;

import java.util.Objects;
import org.apache.flink.api.common.serialization.SerializerConfig;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.TypeSerializer;

/** Arrivals as Flink sends them from the sources to the join. They never are state. */
final class ArrivalType extends TypeInformation<KeyedArrival> {
  static final ArrivalType INFORMATION = new ArrivalType();
  private static final long serialVersionUID = 1L;

  @Override
  public boolean isBasicType() {
    return false;
  }

  @Override
  public boolean isTupleType() {
    return false;
  }

  @Override
  public int getArity() {
    return 1;
  }

  @Override
  public int getTotalFields() {
    return 1;
  }

  @Override
  public Class<KeyedArrival> getTypeClass() {
    return KeyedArrival.class;
  }

  @Override
  public boolean isKeyType() {
    return false;
  }

  @Override
  public TypeSerializer<KeyedArrival> createSerializer(SerializerConfig config) {
    return new ArrivalSerializer();
  }

  @Override
  public String toString() {
    return "KeyedArrival";
  }

  @Override
  public boolean equals(Object other) {
    return canEqual(other);
  }

  @Override
  public int hashCode() {
    return Objects.hash(ArrivalType.class);
  }

  @Override
  public boolean canEqual(Object other) {
    return other instanceof ArrivalType;
  }
}
