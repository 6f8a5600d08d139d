// Copyright (c) monai_cuas contributors
// SPDX-License-Identifier: Apache-2.0

/* OHIF's settings (its app-config.js), and a panel in which a reader saves the mask; see docs/how-to/hospital.md. */

(function () {
  'use strict';

  // The panel of MONAI Label would ask port 8000 by http otherwise, also behind a reverse proxy.
  document.cookie = 'MONAILABEL_SERVER_URL=' + escape(location.origin + '/') + '; path=/ohif; samesite=strict';

  var MONAI = '@ohif/extension-monai-label.panelModule.monailabel';
  var READER = 'monai_cuas.panelModule.reader';
  var SEGMENTATION = '1'; // the one that MONAI Label's panel makes
  var COLOUR = [255, 64, 64, 255]; // its own for "anomaly" is nearly black
  var WHAT_IT_IS =
    'Marks what differs from the normal scans that the network was trained on. Research only: no diagnosis, and ' +
    'what is not marked may still be abnormal.';
  var services = null;
  var commands = null;
  var extensions = null;

  // What OHIF makes of JSX; it gives React to nobody.
  function element(type, props) {
    var children = Array.prototype.slice.call(arguments, 2);
    return {
      $$typeof: Symbol.for('react.element'),
      type: type,
      key: null,
      ref: null,
      props: Object.assign({}, props, children.length ? { children: children } : null),
      _owner: null,
      _store: {},
    };
  }

  function say(text, type) {
    services.uiNotificationService.show({ title: 'Reader', message: text, type: type, duration: 8000 });
    var place = document.getElementById('cuas-answer');
    if (place) {
      place.textContent = text;
      place.setAttribute('data-type', type);
    }
  }

  // The series in the active viewport.
  function active() {
    var grid = services.viewportGridService.getState();
    var viewport = grid.viewports.get(grid.activeViewportId);
    return services.displaySetService.getDisplaySetByUID(viewport.displaySetInstanceUIDs[0]);
  }

  // The same, its images in the order of the voxels, and the labels.
  function shown() {
    var set = active();
    if (!services.segmentationService.getSegmentation(SEGMENTATION)) {
      throw new Error('Connect to the server in the panel MONAI Label first.');
    }
    var labels = services.segmentationService.getLabelmapVolume(SEGMENTATION);
    // Each slice of the mask knows the image that it was made for.
    var images = labels.imageIds.map(function (id) {
      var image = cornerstone.cache.getImage(id).referencedImageId;
      var instance = cornerstone.metaData.get('instance', image);
      if (instance.SeriesInstanceUID !== set.SeriesInstanceUID) {
        throw new Error('The mask belongs to another series than the one that is shown; select that one.');
      }
      var frame = /\/frames\/(\d+)/.exec(image);
      return [instance.SOPInstanceUID, frame ? Number(frame[1]) : 1];
    });
    return { series: set.SeriesInstanceUID, shape: labels.dimensions, images: images, labels: labels };
  }

  async function sentence(response) {
    try {
      return (await response.json()).detail;
    } catch (error) {
      return 'The server answered ' + response.status + '.';
    }
  }

  async function save(empty) {
    try {
      var found = shown();
      var voxels = Uint8Array.from(found.labels.voxelManager.getCompleteScalarDataArray());
      if (empty) {
        voxels.fill(0);
      } else if (!voxels.some(Boolean)) {
        throw new Error('The mask is empty. If the scan is normal, say so with the other button.');
      }
      var form = new FormData();
      form.append('params', JSON.stringify({ shape: found.shape, images: found.images }));
      form.append('label', new Blob([voxels]), 'label.bin');
      var address = '/datastore/label?tag=final&image=' + encodeURIComponent(found.series);
      var response = await fetch(address, { method: 'PUT', body: form });
      if (!response.ok) {
        throw new Error(await sentence(response));
      }
      say(empty ? 'Saved: nothing abnormal in this scan.' : 'Saved: your mask is in the PACS.', 'success');
    } catch (error) {
      say(error.message, 'error');
    }
  }

  async function ask(series, params) {
    var form = new FormData();
    form.append('params', JSON.stringify(params));
    var address = '/infer/cuas?output=json&image=' + encodeURIComponent(series);
    var response = await fetch(address, { method: 'POST', body: form });
    if (!response.ok) {
      throw new Error(await sentence(response));
    }
    return response.json();
  }

  async function score() {
    try {
      var said = await ask(active().SeriesInstanceUID, {});
      say(
        'Scan score ' + said.scan_score.toFixed(2) + '; marked at the default options: ' +
          said.lesion_volume_ml.toFixed(1) + ' ml in ' + said.components + ' pieces.',
        'info'
      );
    } catch (error) {
      say(error.message, 'error');
    }
  }

  // Let OHIF fetch one more series of an open study. It keeps what it once got of a study under the source's name and the
  // study, so that is forgotten before, and after, as it would be taken for all of the study.
  async function fetched(study, series) {
    var source = extensions.getActiveDataSource()[0];
    function forget() {
      source.deleteStudyMetadataPromise('PACS:' + study);
      source.deleteStudyMetadataPromise(study);
    }
    forget();
    await source.retrieve.series.metadata({ StudyInstanceUID: study, filters: { seriesInstanceUID: [series] } });
    forget();
  }

  // The map itself, painted on the scan: one more series of the study, which OHIF is told to fetch.
  async function paint() {
    try {
      var set = active();
      var said = await ask(set.SeriesInstanceUID, { save_painted: true });
      await fetched(set.StudyInstanceUID, said.saved_painted);
      say('The map is the series "Anomaly on scan" on the left. It is in the PACS and has not been reviewed.', 'success');
    } catch (error) {
      say(error.message, 'error');
    }
  }

  function tool(name) {
    return function () {
      commands.run('setToolActiveToolbar', { toolName: name });
    };
  }

  function radius(event) {
    var millimetres = Number(event.target.value);
    if (!(millimetres > 0)) {
      return;
    }
    services.toolGroupService.getToolGroupIds().forEach(function (group) {
      cornerstoneTools.utilities.segmentation.setBrushSizeForToolGroup(group, millimetres);
    });
  }

  function ReaderPanel() {
    var wide = { display: 'block', width: '100%', margin: '6px 0', padding: '6px', background: '#0944b3', color: '#fff' };
    var small = Object.assign({}, wide, { display: 'inline-block', width: '30%', margin: '6px 3% 6px 0' });
    function button(id, style, action, text) {
      return element('button', { id: 'cuas-' + id, style: style, onClick: action }, text);
    }
    return element(
      'div',
      { style: { color: '#fff', fontSize: '13px', padding: '8px' } },
      element('p', null, WHAT_IT_IS),
      button('score', wide, score, 'Score of this scan'),
      button('paint', wide, paint, 'Map of this scan, as a series'),
      element('p', null, 'Correct the mask with the left mouse button:'),
      button('brush', small, tool('CircularBrush'), 'Brush'),
      button('eraser', small, tool('CircularEraser'), 'Eraser'),
      button('window', small, tool('WindowLevel'), 'Window'),
      element(
        'label',
        { style: { display: 'block' } },
        'Its radius in mm: ',
        element('input', {
          id: 'cuas-radius',
          type: 'number',
          min: 1,
          max: 50,
          defaultValue: 25,
          style: { color: '#000', background: '#fff', width: '4em' },
          onChange: radius,
        })
      ),
      button('save', wide, function () { save(false); }, 'Save the mask as my final one'),
      button('normal', wide, function () { save(true); }, 'Nothing abnormal: save an empty mask'),
      element('p', { id: 'cuas-answer', style: { minHeight: '3em' } })
    );
  }

  function addPanel() {
    var panels = services.panelService.getPanels('right');
    var names = panels.map(function (panel) { return panel.id; });
    if (names.includes(MONAI) && !names.includes(READER)) {
      services.panelService.addPanel('right', READER);
    }
  }

  function colour() {
    services.segmentationService.getViewportIdsWithSegmentation(SEGMENTATION).forEach(function (viewport) {
      services.segmentationService.setSegmentColor(viewport, SEGMENTATION, 1, COLOUR);
    });
  }

  // MONAI Label's own text promises a segmentation of "everything".
  var sheet = document.createElement('style');
  sheet.textContent =
    '.monaiLabelPanel .modelSelector p { font-size: 0; } .monaiLabelPanel .modelSelector p::after { font-size: 12px; ' +
    'content: "' + WHAT_IT_IS + '"; }';
  document.head.appendChild(sheet);

  window.config = {
    routerBasename: '/ohif/',
    showStudyList: true,
    extensions: [
      {
        id: 'monai_cuas',
        preRegistration: function (given) {
          services = given.servicesManager.services;
          commands = given.commandsManager;
          extensions = given.extensionManager;
          services.panelService.subscribe(services.panelService.EVENTS.PANELS_CHANGED, addPanel);
        },
        getPanelModule: function () {
          return [
            {
              name: 'reader',
              iconName: 'tab-segmentation',
              iconLabel: 'Reader',
              label: 'Correct and save',
              component: ReaderPanel,
            },
          ];
        },
        onModeEnter: function () {
          var segmentations = services.segmentationService;
          segmentations.subscribe(segmentations.EVENTS.SEGMENTATION_DATA_MODIFIED, colour);
        },
      },
    ],
    modes: [],
    showWarningMessageForCrossOrigin: true,
    showCPUFallbackMessage: true,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    useSharedArrayBuffer: 'FALSE',
    defaultDataSourceName: 'dicomweb',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'dicomweb',
        configuration: {
          friendlyName: 'PACS',
          name: 'PACS',
          wadoUriRoot: '/proxy/dicom/wado',
          qidoRoot: '/proxy/dicom/qido',
          wadoRoot: '/proxy/dicom/wado',
          qidoSupportsIncludeField: true,
          supportsReject: false,
          imageRendering: 'wadors',
          thumbnailRendering: 'wadors',
          enableStudyLazyLoad: false,
          supportsFuzzyMatching: false,
          supportsWildcard: true,
          dicomUploadEnabled: false,
          bulkDataURI: { enabled: true },
        },
      },
    ],
  };
})();
