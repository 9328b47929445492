// Sends a command, judges its answer (`success = no` throws) and refuses what charon would read as absent. Knows no
// command.
import { MalformedMessageError, ViciCommandError } from "./errors.ts";
import { readText } from "./fields.ts";
import type { Section, SectionInput } from "./message.ts";
import type { CommandOptions, ViciRequester } from "./session.ts";

/** Any of the members, but not none of them. */
export type AtLeastOne<Members> = {
  [Name in keyof Members]: Required<Pick<Members, Name>> & Partial<Omit<Members, Name>>;
}[keyof Members];

/**
 * charon reads an argument with a byte outside 0x20..0x7e as absent (5.9.8, vici_message.c, vget_str): a child's name
 * would drop out of a terminate and leave the whole IKE SA selected. An empty one would select nothing.
 */
export function printable<Value extends string | undefined>(key: string, value: Value): Value {
  if (value === undefined || /^[\x20-\x7e]+$/.test(value)) return value;
  throw new MalformedMessageError(`${key} ${JSON.stringify(value)} is not printable ASCII: charon would ignore it`);
}

/** For arguments of which some commands look only whether they are there: "no" would switch those on. */
export const yesOrAbsent = (isWanted: boolean | undefined): "yes" | undefined =>
  isWanted === true ? "yes" : undefined;

export async function run(
  vici: ViciRequester,
  command: string,
  args: SectionInput,
  options?: CommandOptions,
): Promise<Section> {
  return judge(command, await vici.request(command, args, options));
}

export function judge(command: string, answer: Section): Section {
  if (answer.get("success") === "yes") return answer;
  throw new ViciCommandError(command, readText(answer, "errmsg") ?? "without a reason");
}

/** Everything a streaming command tells, one decoded value an event. Its answer is empty. */
export async function collect<Told>(
  vici: ViciRequester,
  command: string,
  event: string,
  args: SectionInput,
  decode: (message: Section) => Told,
  options?: CommandOptions,
): Promise<readonly Told[]> {
  const told: Told[] = [];
  await vici.stream(command, event, args, (message) => told.push(decode(message)), options);
  return told;
}
