/** The question on the page as code that asks it again. */

import type { ChatRequest } from "./chat";
import { hasToken } from "./api";

const server = (): string => new URL("v1", document.baseURI).href;

export function asPython(request: ChatRequest): string {
  const content = request.messages[0].content.map((part) => `        ${pythonOf(part)},`).join("\n");
  const key = hasToken() ? 'os.environ["VECSPEAK_TOKEN"]' : '"none"';
  return `${hasToken() ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url="${server()}", api_key=${key})
answer = client.chat.completions.create(
    model=${JSON.stringify(request.model)},
    messages=[{"role": "user", "content": [
${content}
    ]}],
)
print(answer.choices[0].message.content)
print(answer.choices[0].vecspeak)  # consistency, distance, neighbours
`;
}

export function asCurl(request: ChatRequest): string {
  const body = JSON.stringify(request).replaceAll("'", "'\\''");
  const token = hasToken() ? ' \\\n  -H "Authorization: Bearer $VECSPEAK_TOKEN"' : "";
  return `curl ${server()}/chat/completions \\
  -H 'Content-Type: application/json'${token} \\
  -d '${body}'
`;
}

/** JSON of texts and numbers is Python too. */
const pythonOf = (part: object): string => `{${Object.entries(part).map(([name, value]) => `"${name}": ${JSON.stringify(value)}`).join(", ")}}`;
