/** Opens a prepared operation in a tab of GraphiQL, with its variables filled from what is remembered. */
import { useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { Kind, parse } from 'graphql';
import type { OperationDefinitionNode } from 'graphql';
import { filledVariables } from './memory';
import type { PreparedOperation } from './operations';
import { currentSession } from './session';

/** A function that opens an operation, in its own tab, which is made if there is none; null until the editors are ready. */
export function useOpenOperation(): ((operation: PreparedOperation) => void) | null {
  const { addTab, changeTab, setOperationFacts, stop, updateActiveTabValues } = useGraphiQLActions();
  const { queryEditor, variableEditor, tabs, activeTabIndex } = useGraphiQL((state) => ({
    queryEditor: state.queryEditor,
    variableEditor: state.variableEditor,
    tabs: state.tabs,
    activeTabIndex: state.activeTabIndex,
  }));

  if (!queryEditor || !variableEditor) return null;
  return (operation) => {
    const index = tabs.findIndex((tab) => tab.title === operation.operationName);
    const typed = index < 0 ? undefined : parsed(index === activeTabIndex ? variableEditor.getValue() : tabs[index]?.variables);
    const query = (index < 0 ? null : index === activeTabIndex ? queryEditor.getValue() : tabs[index]?.query) || operation.query;
    const filled = filledVariables(operation, currentSession().memory, typed);
    const variables = Object.keys(filled).length > 0 ? JSON.stringify(filled, null, 2) : '';

    // A subscription that goes on would make the next Run a Stop.
    stop();
    if (index < 0) addTab();
    else if (index !== activeTabIndex) changeTab(index);
    queryEditor.setValue(query);
    variableEditor.setValue(variables);
    // GraphiQL learns these a moment after the text changes; a quick Run would send the name of the operation before.
    setFacts(query, operation.operationName, setOperationFacts);
    updateActiveTabValues({ query, variables, operationName: operation.operationName });
  };
}

function setFacts(query: string, operationName: string, set: ReturnType<typeof useGraphiQLActions>['setOperationFacts']): void {
  try {
    const documentAST = parse(query);
    const operations = documentAST.definitions.filter(
      (definition): definition is OperationDefinitionNode => definition.kind === Kind.OPERATION_DEFINITION,
    );
    set({ documentAST, operationName, operations });
  } catch {
    // The text of an open tab may be in the middle of a change; GraphiQL marks the fault itself.
    return;
  }
}

function parsed(variables: string | null | undefined): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(variables || '{}');
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
