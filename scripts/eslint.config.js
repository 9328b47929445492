import { fileURLToPath, URL } from "node:url";
import js from "@eslint/js";
import tseslint from "typescript-eslint";

const root = fileURLToPath(new URL("..", import.meta.url));
const effects = ["net", "child_process", "fs", "fs/promises", "http", "dgram", "tls"].flatMap((name) => [
  name,
  `node:${name}`,
]);

// Foreign keys (Neutron, VICI, oslo) are snake_case or kebab-case; they may be written only where the border is.
const camelCaseNames = [
  "error",
  { selector: "default", format: ["camelCase", "UPPER_CASE", "PascalCase"], leadingUnderscore: "allow" },
  { selector: "typeLike", format: ["PascalCase"] },
  { selector: ["objectLiteralProperty", "typeProperty"], modifiers: ["requiresQuotes"], format: null },
  { selector: "import", format: null },
];

export default tseslint.config(
  { ignores: ["dist/**", "node_modules/**"] },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { project: "./tsconfig.json", tsconfigRootDir: root } },
    rules: {
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/no-non-null-assertion": "error",
      "@typescript-eslint/consistent-type-definitions": "off",
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "no-restricted-syntax": ["error", { selector: "TSEnumDeclaration", message: "use a union" }],
      eqeqeq: "error",
    },
  },
  { files: ["src/**"], rules: { "@typescript-eslint/naming-convention": camelCaseNames } },
  {
    files: ["src/wire/**", "src/vici-client/**", "src/ovsdb-client/**"],
    rules: { "@typescript-eslint/naming-convention": "off" },
  },
  {
    files: [
      "src/core/**",
      "src/wire/**",
      "src/reconcile/**",
      "src/cli/**",
      "src/agent.ts",
      "src/vici-client/**",
      "src/ovsdb-client/**",
    ],
    ignores: ["src/vici-client/session.ts", "src/ovsdb-client/session.ts"],
    rules: { "no-restricted-imports": ["error", { paths: effects }] },
  },
  {
    files: ["test/**", "scripts/**"],
    rules: { "@typescript-eslint/naming-convention": "off" },
  },
  { files: ["**/*.js"], ...tseslint.configs.disableTypeChecked },
);
