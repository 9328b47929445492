// The shape of a JSON value: its keys and the kinds of what is not comparable, to tell payloads apart from each other.

/** Keys all the way down; a list is the shape of its first element, an empty list or a plain value is a dot. */
export function keyStructure(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? "." : [keyStructure(value[0])];
  if (typeof value !== "object" || value === null) return ".";
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, keyStructure(Reflect.get(value, key))]),
  );
}
