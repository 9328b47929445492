// What the controller needs of the message bus, in its own words.

export type ServedMethod = (args: Readonly<Record<string, unknown>>) => Promise<unknown>;

export type Bus = {
  /** `isAlone`: nobody else may serve the topic beside us. */
  serve(topic: string, methods: Readonly<Record<string, ServedMethod>>, options: { readonly isAlone: boolean }): void;
  /** Rejects when it could not be handed over. */
  cast(
    target: { readonly topic: string; readonly server: string },
    method: string,
    args: Readonly<Record<string, unknown>>,
  ): Promise<void>;
};
