/** The map's table: one row an entity, read from Arrow column by column. */

import { tableFromIPC, type Table } from "@uwdata/flechette";
import type { Entity } from "./api";

export class Entities {
  readonly count: number;
  /** Places on the map, 0..1. */
  readonly x: Float32Array;
  readonly y: Float32Array;
  private readonly table: Table;
  private rows: Map<string, number> | null = null;

  constructor(bytes: Uint8Array) {
    this.table = tableFromIPC(bytes);
    this.count = this.table.numRows;
    this.x = Float32Array.from(this.column("x") as Iterable<number>);
    this.y = Float32Array.from(this.column("y") as Iterable<number>);
  }

  get columns(): string[] {
    return this.table.names.filter((name) => !["id", "title", "x", "y"].includes(name));
  }

  at(row: number): Entity {
    return { id: this.table.getChild("id").at(row) as string, title: (this.table.getChild("title")?.at(row) as string | null) ?? null };
  }

  rowOf(id: string): number | undefined {
    this.rows ??= new Map(Array.from(this.table.getChild("id") as Iterable<string>, (known, row) => [known, row]));
    return this.rows.get(id);
  }

  column(name: string): ArrayLike<unknown> & Iterable<unknown> {
    return this.table.getChild(name).toArray();
  }
}
