// Reading JSON schemas: where a path leads, what a field may hold, and what it starts with.

export class Schema {
  constructor(root) {
    this.root = root;
  }

  resolve(schema) {
    if (!schema.$ref) return schema;
    const name = schema.$ref.split("/").at(-1);
    return { ...this.root.$defs[name], ...schema, $ref: undefined };
  }

  at(path) {
    return path.split(".").reduce((schema, part) => this.part(schema).properties[part], this.root);
  }

  // The value a job has where nothing is said.
  initial(schema = this.root) {
    const known = this.resolve(schema);
    if (known.default !== undefined) return structuredClone(known.default);
    if (known.type === "object" && !known.properties) return {};
    if (!known.properties) return undefined;
    return Object.fromEntries(Object.entries(known.properties).map(([name, part]) => [name, this.initial(part)]).filter(([, value]) => value !== undefined));
  }

  nullable(schema) {
    return Boolean(schema.anyOf?.some((one) => one.type === "null"));
  }

  part(schema) {
    return this.resolve(notNull(this.resolve(schema)));
  }
}

function notNull(schema) {
  const inner = schema.anyOf?.find((one) => one.type !== "null");
  return inner ? { ...schema, ...inner, anyOf: undefined } : schema;
}

export function read(values, path) {
  return path.split(".").reduce((value, part) => value?.[part], values);
}

export function write(values, path, value) {
  const parts = path.split(".");
  const last = parts.pop();
  let place = values;
  for (const part of parts) place = place[part] ??= {};
  place[last] = value;
}
