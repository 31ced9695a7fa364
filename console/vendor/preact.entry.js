import { h } from "preact";
import htm from "htm";

export { Component, Fragment, createContext, h, render } from "preact";
export {
  useCallback, useContext, useEffect, useErrorBoundary, useId, useLayoutEffect, useMemo, useRef, useState,
} from "preact/hooks";
export const html = htm.bind(h);
